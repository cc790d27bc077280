#!/bin/sh
# A real SLURM on this one machine, for tests: installs Debian's packages and starts munged, slurmctld and slurmd.
# Root only; meant for a container or a virtual machine that may be thrown away. Calling it again restarts it.
set -eu

[ "$(id -u)" = 0 ] || { echo "start.sh: only root can install and start SLURM" >&2; exit 1; }

if ! command -v slurmctld >/dev/null || ! command -v slurmd >/dev/null || ! command -v munged >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq slurm-wlm munge >/dev/null
fi

"$(dirname "$0")/stop.sh"

NODE=$(hostname -s)
MEMORY_MB=$(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
mkdir -p /etc/slurm /run/munge /var/spool/slurmctld /var/spool/slurmd /var/log/slurm
[ -s /etc/munge/munge.key ] || { dd if=/dev/urandom of=/etc/munge/munge.key bs=1024 count=1 status=none; }
chown -R munge:munge /etc/munge /run/munge /var/lib/munge /var/log/munge
chmod 400 /etc/munge/munge.key

# Eight slots whatever the machine has, a graphics processor that is none, jobs that end 5 s after SIGTERM.
cat >/etc/slurm/slurm.conf <<CONF
ClusterName=testbed
SlurmctldHost=$NODE(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
ReturnToService=2
KillWait=5
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
GresTypes=gpu
NodeName=$NODE NodeAddr=127.0.0.1 CPUs=8 RealMemory=$MEMORY_MB Gres=gpu:1 State=UNKNOWN
PartitionName=batch Nodes=$NODE Default=YES MaxTime=INFINITE State=UP
CONF
echo "NodeName=$NODE Name=gpu File=/dev/null" >/etc/slurm/gres.conf

runuser -u munge -- munged
slurmctld
slurmd

for _ in $(seq 30); do
    if [ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ]; then
        sinfo --Node --long
        exit 0
    fi
    scontrol update nodename="$NODE" state=resume 2>/dev/null || true
    sleep 1
done
echo "start.sh: the node did not become idle; see /var/log/slurm" >&2
exit 1
