#!/usr/bin/env bash
# start_slurm.sh DIR: a throw-away SLURM with fake GPUs under DIR; then `. DIR/env.sh`. SLURM_DBD=1 adds sacct.
# apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge [slurmdbd mariadb-server]
# As root: nodes n1..nN, each slurmd in its own UTS namespace; as another user: one node, that user's jobs only.
set -euo pipefail
D=$(mkdir -p "$1" && cd "$1" && pwd)
[ ! -s "$D/settings" ] || . "$D/settings"          # a second start keeps the first one's settings
N=${SLURM_NODES:-2} C=${SLURM_CPUS:-16} M=${SLURM_MEM:-64000} G=${SLURM_GPUS:-8} DBD=${SLURM_DBD:-0}
# Ports of its own, below those that the system gives to outgoing connections: two starts and the servers of other tests
# get along.
taken() {
  local p
  for p in "$1" $(($1+2)) $(($1+3)) $(seq $(($1+11)) $(($1+10+N))); do
    (exec 3<> "/dev/tcp/127.0.0.1/$p") 2>/dev/null && return 0
  done
  return 1
}
P=${SLURM_PORT:-$((10000 + (RANDOM * 32768 + RANDOM) % 20000))}
while [ -z "${SLURM_PORT:-}" ] && taken "$P"; do P=$((10000 + (RANDOM * 32768 + RANDOM) % 20000)); done
export PATH=/usr/sbin:/sbin:$PATH SLURM_CONF=$D/slurm.conf
me=$(id -un) host=$(hostname -s) root=$([ "$(id -u)" = 0 ] && echo 1 || echo 0)
[ $root = 1 ] || N=1
echo "SLURM_NODES=$N SLURM_CPUS=$C SLURM_MEM=$M SLURM_GPUS=$G SLURM_DBD=$DBD SLURM_PORT=$P" > "$D/settings"
alive() { [ -s "$D/run/$1.pid" ] && kill -0 "$(cat "$D/run/$1.pid")" 2>/dev/null; }
wait_for() { # two minutes: a first registration that is lost on a busy machine is sent again after 30 s
  for _ in $(seq 600); do "$@" > /dev/null 2>&1 && return 0; sleep 0.2; done
  echo "timeout: $*" >&2; sinfo -N >&2 || true; tail -n 20 "$D"/log/*.log >&2; return 1; }
mkdir -p "$D"/{log,state,dev,spool,run,bin}; chmod 755 "$D" "$D"/*/
[ -s "$D/munge.key" ] || (umask 077; head -c 1024 /dev/urandom > "$D/munge.key")
cat > "$D/slurm.conf.new" <<E
ClusterName=fake
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$P
SlurmUser=$me
SlurmdUser=$me
AuthType=auth/munge
AuthInfo=socket=$D/run/munge.sock,cred_expire=5 # seconds; SLURM keeps a job that it has queued again for as long (120)
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool/%n
SlurmctldPidFile=$D/run/slurmctld.pid
SlurmdPidFile=$D/run/slurmd-%n.pid
SlurmctldLogFile=$D/log/slurmctld.log
SlurmdLogFile=$D/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc=$D/log/jobcomp.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=1800
KillWait=2
SlurmdTimeout=300
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
DefMemPerCPU=500
GresTypes=gpu
$([ "$DBD" != 1 ] || printf 'AccountingStorage%s\n' Type=accounting_storage/slurmdbd Host=127.0.0.1 Port=$((P+2)) \
  Pass="$D/run/munge.sock" TRES=gres/gpu Enforce=associations,limits,qos)
$(for i in $(seq "$N"); do [ $root = 1 ] && h=n$i || h=$host
  echo NodeName=n$i NodeHostname=$h NodeAddr=127.0.0.1 Port=$((P+10+i)) CPUs=$C RealMemory=$M Gres=gpu:$G \
    State=UNKNOWN; done)
PartitionName=cpu Nodes=ALL Default=YES DefaultTime=10 MaxTime=INFINITE State=UP PreemptMode=OFF
PartitionName=gpu Nodes=ALL DefaultTime=10 MaxTime=INFINITE State=UP PreemptMode=OFF
PartitionName=spare Nodes=ALL DefaultTime=10 MaxTime=INFINITE State=UP PriorityTier=0 PreemptMode=REQUEUE
PartitionName=grace Nodes=ALL DefaultTime=10 MaxTime=INFINITE State=UP PriorityTier=0 PreemptMode=REQUEUE GraceTime=60
PartitionName=cancels Nodes=ALL DefaultTime=10 MaxTime=INFINITE State=UP PriorityTier=0 PreemptMode=CANCEL
E
mv "$D/slurm.conf.new" "$D/slurm.conf" # at once: a second start, after a daemon was killed, finds others reading it
# torchrun on one node finds the other by its name
(cat /etc/hosts; for i in $(seq "$N"); do echo "127.0.0.1 n$i"; done) > "$D/hosts"
: > "$D/gres.conf"                                  # slurmd wants character devices: links to /dev/null will do
for g in $(seq 0 $((G-1))); do
  ln -sfn /dev/null "$D/dev/nvidia$g"; echo "Name=gpu File=$D/dev/nvidia$g" >> "$D/gres.conf"
done
for c in sacct sacctmgr salloc sbatch scancel scontrol sinfo squeue srun sshare sstat; do   # jobstep drops SLURM_CONF
  printf '#!/bin/sh\nSLURM_CONF=%s exec /usr/bin/%s "$@"\n' "$D/slurm.conf" "$c" > "$D/bin/$c"
  chmod 755 "$D/bin/$c"; done
echo "export SLURM_CONF=$D/slurm.conf PATH=$D/bin:\$PATH" > "$D/env.sh"
alive munged || munged --force --key-file="$D/munge.key" --socket="$D/run/munge.sock" --pid-file="$D/run/munged.pid" \
  --log-file="$D/log/munged.log" --seed-file="$D/run/munged.seed"
wait_for munge -S "$D/run/munge.sock" -n
if [ "$DBD" = 1 ]; then
  [ -d "$D/mysql/mysql" ] || mariadb-install-db --no-defaults --user="$me" --datadir="$D/mysql" --skip-test-db \
    --auth-root-authentication-method=socket --auth-root-socket-user="$me" > "$D/log/mariadb-install.log" 2>&1
  alive mariadbd || { mariadbd --no-defaults --user="$me" --datadir="$D/mysql" --socket="$D/run/mysql.sock" \
    --port=$((P+3)) --bind-address=127.0.0.1 --pid-file="$D/run/mariadbd.pid" \
    > "$D/log/mariadbd.log" 2>&1 < /dev/null & }
  sql() { mariadb --no-defaults -S "$D/run/mysql.sock" -u "$me" -e "$1"; }
  wait_for sql "select 1"
  for h in % localhost; do
    sql "create database if not exists slurm_acct_db; create user if not exists slurm@'$h' identified by 'x';
      grant all on slurm_acct_db.* to slurm@'$h'"
  done
  (umask 077; printf '%s\n' AuthType=auth/munge AuthInfo=socket="$D/run/munge.sock" DbdHost="$host" \
    DbdAddr=127.0.0.1 DbdPort=$((P+2)) SlurmUser="$me" PidFile="$D/run/slurmdbd.pid" \
    LogFile="$D/log/slurmdbd.log" StorageType=accounting_storage/mysql StorageHost=127.0.0.1 \
    StoragePort=$((P+3)) StorageUser=slurm StoragePass=x StorageLoc=slurm_acct_db > "$D/slurmdbd.conf")
  alive slurmdbd || slurmdbd
  wait_for sacctmgr -n list cluster
  for a in "cluster fake" "account test cluster=fake" "user $me account=test cluster=fake"; do
    sacctmgr -i add $a > /dev/null || true
  done
fi
alive slurmctld || slurmctld
up() { scontrol ping | grep -q UP; }; wait_for up   # before slurmd: its lost first registration costs 30 s
for i in $(seq "$N"); do
  alive slurmd-n$i && continue
  mkdir -p "$D/spool/n$i"
  if [ $root = 1 ]; then
    unshare --uts --mount sh -c "mount --bind $D/hosts /etc/hosts && hostname n$i && exec slurmd -N n$i"
  else slurmd -N n1; fi
done
idle() { [ "$(sinfo -h -N -p cpu -t idle,mix,alloc -o %n | sort -u | wc -l)" = "$N" ]; }; wait_for idle; sinfo
