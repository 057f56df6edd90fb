# The node's own network and mounts; ends never, and with it they do. Run by `unshare --net --mount`, STATE in the
# environment. The PID namespace and the control groups are the machine's.
set -eu

mount --make-rshared /

# Usual paths, with files of our own; folders that the machine lacks are noted, for `down`.
for folder in /var/lib/kubelet /var/lib/containerd /var/lib/cni /var/log/pods /var/log/containers /etc/cni /etc/cni/net.d \
    /run/containerd /run/netns; do
    [ -d $folder ] || { mkdir $folder; echo $folder >> "$STATE/made"; }
done
for folder in /var/lib/kubelet /var/lib/containerd /var/log/pods /var/log/containers; do
    mkdir -p "$STATE/node$folder"
    mount --bind "$STATE/node$folder" $folder
done
for folder in /var/lib/cni /etc/cni/net.d /run/containerd /run/netns; do
    mount -t tmpfs tmpfs $folder
done
mount --make-rshared /var/lib/kubelet
mount --make-rshared /run/containerd
mount --make-rshared /run/netns
cp "$STATE/config/10-bridge.conflist" /etc/cni/net.d/

mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing

# The kubelet would change these for the whole machine: it is shown the values that it wants.
echo 1 > "$STATE/one"; echo 10 > "$STATE/ten"
mount --bind "$STATE/one" /proc/sys/vm/overcommit_memory
mount --bind "$STATE/ten" /proc/sys/kernel/panic
mount --bind "$STATE/one" /proc/sys/kernel/panic_on_oops

# Nothing leads out of here. Not every kernel has dummy devices; a pair has two ends, of which one carries the address.
ip link set lo up
ip link add node0 type veth peer name node1
ip address add "$ADDRESS/24" dev node0
ip link set node0 up
ip link set node1 up
ip route add default dev node0
echo 1 > /proc/sys/net/ipv4/ip_forward
[ ! -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables

echo ready > "$STATE/ready"
exec sleep infinity
