#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What is around each selftest in the guest: two ports on one wire, the first tested, the second at the
# far end; afterwards nothing of the test is left. The addresses are those that tests/src/selftests/bed.rs
# tells the tests.
#
#   bed.sh up DRIVER NEAR FAR TOPOLOGY     NEAR and FAR are the ports' MAC addresses
#   bed.sh down DRIVER
#
# TOPOLOGY is netns: the far port is in a namespace, and both have addresses; or pair: both ports are
# here, without addresses.

interface() {
	for path in /sys/class/net/*/address; do
		if [ "$(cat "$path")" = "$1" ]; then
			path=${path%/address}
			echo "${path##*/}"
			return
		fi
	done
}

# port NAME MAC: waits for the port and gives it that name.
port() {
	name=
	for try in $(seq 300); do
		name=$(interface "$2")
		[ -z "$name" ] || break
		sleep 0.1
	done
	[ -n "$name" ] || { echo "no port $2" >&2; exit 1; }
	[ "$name" = "$1" ] || ip link set "$name" name "$1" || exit 1
}

# carrier NAME [NAMESPACE]
carrier() {
	for try in $(seq 300); do
		state=$(${2:+ip netns exec "$2"} cat "/sys/class/net/$1/carrier" 2>/dev/null)
		[ "$state" != 1 ] || return 0
		sleep 0.1
	done
	echo "$1 has no carrier" >&2
	exit 1
}

up() {
	driver=$1 near=$2 far=$3 topology=$4
	[ -e /etc/hosts ] || printf '127.0.0.1 localhost\n::1 localhost\n' >/etc/hosts
	[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
	modprobe -q netconsole
	[ -e /sys/kernel/config/netconsole ] || mount -t configfs configfs /sys/kernel/config
	modprobe "$driver" || exit 1
	# Ports that are taken for others first, then named.
	port near0 "$near"
	port far0 "$far"
	port eth0 "$near"
	port eth1 "$far"
	if [ "$topology" = netns ]; then
		ip netns add remote &&
		ip link set eth1 netns remote &&
		ip -n remote link set lo up &&
		ip addr add 192.0.2.1/24 dev eth0 &&
		ip addr add 2001:db8:1::1/64 dev eth0 nodad &&
		ip -n remote addr add 192.0.2.2/24 dev eth1 &&
		ip -n remote addr add 2001:db8:1::2/64 dev eth1 nodad &&
		ip link set eth0 up &&
		ip -n remote link set eth1 up &&
		ip -n remote -6 route add 2001:db8:2::/64 via 2001:db8:1::1 dev eth1 || exit 1
		carrier eth1 remote
	else
		ip link set eth0 up && ip link set eth1 up || exit 1
		carrier eth1
	fi
	carrier eth0
}

down() {
	# All that the test has started and not ended.
	[ ! -e /run/selftest-session ] || pkill -KILL -s "$(cat /run/selftest-session)"
	for namespace in $(ip netns list | cut -d' ' -f1); do
		for process in $(ip netns pids "$namespace"); do
			kill -KILL "$process"
		done
		ip netns del "$namespace"
	done
	modprobe -r "$1" || exit 1
	for path in /sys/class/net/*; do
		case ${path##*/} in
		lo | bonding_masters) ;;
		*) ip link del "${path##*/}" 2>/dev/null ;;
		esac
	done
	rm -f /run/selftest-session
}

"$@"
