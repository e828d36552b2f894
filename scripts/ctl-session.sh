#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#
# A guest, and beside it somebody who talks to it: a vCPU comes, is counted on, and goes; one of the
# guest's tasks is trapped, another is counted.
# `cargo xtask ctl-session` runs this where a KVM is.
#
# ctl-session.sh PERFVISOR KERNEL: the program, and a kernel that starts the vCPUs that come and
# gives them back, whose task 1 stores to the tick page again and again and tells of its first trap,
# and whose task 2 runs: guest-tests' `playground`.

set -eu

perfvisor=$1
kernel=$2
folder=$(mktemp -d)
socket=$folder/vm.sock
vm=

# Whatever went wrong, no guest goes on.
clean_up() {
    [ -z "$vm" ] || kill "$vm" 2>/dev/null || true
    rm -rf "$folder"
}
trap clean_up EXIT

ctl() {
    echo "\$ perfvisor ctl -s vm.sock $*"
    "$perfvisor" ctl -s "$socket" "$@"
}

# The guest's next line.
hear() {
    read -r line <&3
    echo "$line"
}

echo '$ perfvisor run --kernel playground --cpus boot=1,max=2 --control vm.sock &'
mkfifo "$folder/serial"
"$perfvisor" run --kernel "$kernel" --cpus boot=1,max=2 --control "$socket" >"$folder/serial" &
vm=$!
exec 3<"$folder/serial"
hear

ctl info
ctl cpus add
hear
ctl tasks
ctl events open --vcpu 1 -e cycles --period 100000000
ctl events open --task 1 -e port.tick --period 10 --sigtrap=42
hear
ctl stat --task 2 --for 1
ctl events read 1
ctl events read 2
ctl cpus remove 1
hear
ctl events read 1
ctl tasks
ctl info
ctl stop

status=0
wait "$vm" || status=$?
vm=
# No code of the guest's: it was stopped from outside.
[ "$status" -eq 126 ]
[ ! -e "$socket" ]
