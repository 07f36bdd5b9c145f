#!/bin/sh
# Makes an iSCSI target of a virtual machine with the kernel's own target and configfs alone. The disk and what its reservations are stand on
# the machine's own disk, so that they outlive it. The kernel writes APTPL metadata and reads them only from configfs: what it wrote is
# handed back before the disk can be reached.
# $1: name of the target, $2: MiB.
set -e
modprobe -a $(cat /etc/target-modules)
mount -t configfs configfs /sys/kernel/config 2>/dev/null || true
store=/var/lib/holdfast/target
mkdir -p $store/pr $store/alua
ln -sfn $store /var/target
[ -f $store/disk ] || dd if=/dev/zero of=$store/disk bs=1M count=0 seek="$2" 2>/dev/null
cd /sys/kernel/config
mkdir -p target
mkdir -p target/iscsi
disk=target/core/fileio_0/disk
mkdir -p $disk
echo "fd_dev_name=$store/disk,fd_dev_size=$(($2 * 1048576))" >$disk/control
echo holdfast-test >$disk/wwn/vpd_unit_serial
echo 1 >$disk/enable
group=target/iscsi/$1/tpgt_1
mkdir -p $group/lun/lun_1
# One line of attributes for each registration; without the end mark the kernel wrote no more of it.
metadata=$store/pr/aptpl_holdfast-test
if [ -f $metadata ]; then
    registration=
    while read -r line; do
        case $line in
        PR_REG_START:*) registration= ;;
        PR_REG_END:*) echo "$registration" >$disk/pr/res_aptpl_metadata ;;
        *) registration="$registration${registration:+,}$line" ;;
        esac
    done <$metadata
fi
ln -s $disk $group/lun/lun_1/disk
mkdir -p "$group/np/0.0.0.0:3260"
echo 0 >$group/attrib/authentication
echo 0 >$group/attrib/demo_mode_write_protect
echo 1 >$group/attrib/generate_node_acls
echo 1 >$group/attrib/cache_dynamic_acls
echo 1 >$group/enable
