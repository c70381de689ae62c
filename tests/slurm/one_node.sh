#!/usr/bin/env bash
# A Slurm cluster of one node, for as long as one command runs:
#
#   tests/slurm/one_node.sh sinfo
#   tests/slurm/one_node.sh snakemake --executor slurm …
#
# munged, slurmctld and slurmd run as the current user, with their configuration, key, state and
# logs in a temporary folder and on free ports of the loopback address, so that no Slurm of this
# machine's own is touched. No systemd, cgroups or accounting database is needed. The node has two
# GPUs by name alone, so that what a job asks for can be seen: no device stands behind them.
#
# Exit status: the command's own; 77 where a program is missing; 70 where the cluster does not
# come up, its logs on stderr.
set -uo pipefail

[ $# -gt 0 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 64; }

export PATH=$PATH:/usr/sbin:/sbin
missing=()
for program in munged mungekey slurmctld slurmd sbatch srun sinfo scancel squeue setpriv setsid; do
  command -v "$program" >/dev/null || missing+=("$program")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "No one-node Slurm here, missing: ${missing[*]}. On Debian: apt-get install munge slurmctld slurmd slurm-client" >&2
  exit 77
fi

FOLDER=$(mktemp -d "${TMPDIR:-/tmp}/one-node-slurm.XXXXXX")
chmod 755 "$FOLDER"
DAEMONS=()
COMMAND=

# End a process, or a group of them by its negative number: first asked, then forced.
end() {
  kill -TERM -- "$1" 2>/dev/null
  for _ in $(seq 50); do
    kill -0 -- "$1" 2>/dev/null || return
    sleep 0.1
  done
  kill -KILL -- "$1" 2>/dev/null
}

stop() {
  trap '' INT TERM HUP
  [ -z "$COMMAND" ] || end -"$COMMAND"
  if [ -n "${SLURM_CONF:-}" ] && [ ${#DAEMONS[@]} -gt 0 ]; then
    timeout 10 scancel --quiet --user="$(id -un)" 2>/dev/null
    for _ in $(seq 50); do
      [ -n "$(timeout 5 squeue --noheader 2>/dev/null)" ] || break
      sleep 0.1
    done
  fi
  local at
  for ((at = ${#DAEMONS[@]} - 1; at >= 0; at--)); do
    end "${DAEMONS[at]}"
    wait "${DAEMONS[at]}" 2>/dev/null
  done
  rm -rf "$FOLDER"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

failed() {
  echo "The one-node Slurm did not come up: $1" >&2
  tail -n 15 "$FOLDER"/*.log >&2
  exit 70
}

# Should this script be killed outright, what it started ends too.
start() {
  local log=$FOLDER/$1.log
  shift
  setpriv --pdeathsig TERM "$@" >>"$log" 2>&1 &
  DAEMONS+=($!)
}

free_port() {
  local port
  while true; do
    port=$((20000 + RANDOM % 10000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

mkdir -m 755 "$FOLDER/state" "$FOLDER/spool" "$FOLDER/socket"
mungekey --create --keyfile="$FOLDER/munge.key" || failed "mungekey"
start munged munged --foreground --key-file="$FOLDER/munge.key" --pid-file="$FOLDER/munged.pid" \
  --seed-file="$FOLDER/munged.seed" --socket="$FOLDER/socket/munge" --num-threads=2
for _ in $(seq 100); do
  [ -S "$FOLDER/socket/munge" ] && break
  sleep 0.05
done
[ -S "$FOLDER/socket/munge" ] || failed "munged opened no socket"

# Two CPUs at least, even where the machine has one: jobs that run side by side are the point.
memory=$(slurmd -C | sed -n 's/.*RealMemory=\([0-9]*\).*/\1/p')
cpus=$(nproc)
[ "$cpus" -ge 2 ] || cpus=2
host=$(uname -n)
host=${host%%.*}
cat >"$FOLDER/slurm.conf" <<CONF
ClusterName=one-node
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$FOLDER/socket/munge
StateSaveLocation=$FOLDER/state
SlurmdSpoolDir=$FOLDER/spool
SlurmctldPidFile=$FOLDER/slurmctld.pid
SlurmdPidFile=$FOLDER/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
# Finished jobs stay to be seen: without a database, squeue is the only record of them.
MinJobAge=3600
GresTypes=gpu
NodeName=node NodeHostname=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=${memory:-2000} Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=node Default=YES MaxTime=INFINITE State=UP
CONF
printf 'AutoDetect=off\nName=gpu File=/dev/null\nName=gpu File=/dev/zero\n' >"$FOLDER/gres.conf"
export SLURM_CONF=$FOLDER/slurm.conf

# Snakemake's plugin takes SLURM_CONF from the environment of the srun that it starts within a job;
# a cluster's own configuration lies where srun finds it, this one does not.
mkdir "$FOLDER/bin"
printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$SLURM_CONF" "$(command -v srun)" >"$FOLDER/bin/srun"
chmod 755 "$FOLDER/bin/srun"
export PATH=$FOLDER/bin:$PATH

start slurmctld slurmctld -D -i
start slurmd slurmd -D
for _ in $(seq 150); do
  [ "$(timeout 5 sinfo --noheader --format=%t 2>/dev/null)" = idle ] && break
  for pid in "${DAEMONS[@]}"; do
    kill -0 "$pid" 2>/dev/null || failed "a daemon ended"
  done
  sleep 0.2
done
[ "$(timeout 5 sinfo --noheader --format=%t 2>/dev/null)" = idle ] || failed "its node is not idle"

# In the background, so that a signal to this script is acted on at once; in a group of its own, so
# that what the command started ends with it.
setsid "$@" <&0 &
COMMAND=$!
wait "$COMMAND"
status=$?
COMMAND=
exit "$status"
