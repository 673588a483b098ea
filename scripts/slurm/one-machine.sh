#!/usr/bin/env bash
# A Slurm of one machine for tests, without systemd: munge, a controller and N nodes of one core on loopback. Root, Debian's packages.
#     scripts/slurm/one-machine.sh up BASE [N]       starts it; export SLURM_CONF=BASE/slurm.conf to use it
#     scripts/slurm/one-machine.sh down BASE         stops what `up` started
set -euo pipefail
action=${1:?up or down} base=${2:?folder for its state} nodes=${3:-2}
host=$(hostname -s)
export SLURM_CONF=$base/slurm.conf

if [ "$action" = down ]; then
    scancel --user root 2>/dev/null || true
    for file in "$base"/run/*.pid "$base"/munge/munged.pid; do
        if [ -s "$file" ]; then
            pid=$(cat "$file")
            kill "$pid" 2>/dev/null || true
            for _ in $(seq 1 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        fi
    done
    exit 0
fi

mkdir -p "$base"/state "$base"/log "$base"/run "$base"/munge
# a key and a socket of its own: the machine's own munge, if there is one, is not touched
dd if=/dev/urandom of="$base/munge/key" bs=1024 count=1 status=none
chown -R munge: "$base/munge"
chmod 400 "$base/munge/key"
chmod 711 "$base" "$base/munge"
runuser -u munge -- munged --force --key-file="$base/munge/key" --socket="$base/munge/socket" --pid-file="$base/munge/munged.pid" \
    --log-file="$base/munge/log" --seed-file="$base/munge/seed"

{
    cat <<CONF
ClusterName=v50calib
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${SLURM_PORT:-26817}
AuthType=auth/munge
AuthInfo=socket=$base/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$base/state
SlurmdSpoolDir=$base/spool.%n
SlurmctldPidFile=$base/run/slurmctld.pid
SlurmdPidFile=$base/run/slurmd.%n.pid
SlurmctldLogFile=$base/log/slurmctld
SlurmdLogFile=$base/log/slurmd.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
CommunicationParameters=NoCtldInAddrAny
MpiDefault=none
ReturnToService=2
KillWait=5
PartitionName=batch Nodes=n[1-$nodes] Default=YES MaxTime=INFINITE State=UP
CONF
    for i in $(seq 1 "$nodes"); do
        mkdir -p "$base/spool.n$i"
        echo "NodeName=n$i NodeHostname=$host NodeAddr=127.0.0.1 Port=$((${SLURM_PORT:-26817} + i + 1)) CPUs=1 RealMemory=8000 State=UNKNOWN"
    done
} >"$SLURM_CONF"

slurmctld -f "$SLURM_CONF" -c
for i in $(seq 1 "$nodes"); do slurmd -f "$SLURM_CONF" -N "n$i"; done
for _ in $(seq 1 120); do
    if [ "$(sinfo --noheader --states=idle --format=%D 2>/dev/null)" = "$nodes" ]; then exit 0; fi
    sleep 0.5
done
sinfo >&2
echo "the nodes did not come up: see $base/log" >&2
exit 1
