# ---- The same for every run from here on. -------------------------------------------------------
set -u
logs="$folder/slurm/$SLURM_JOB_ID"
mkdir -p "$logs"
say() { echo "$(date -u +%FT%TZ) $*"; }
newest() { ls "$folder/checkpoints" 2>/dev/null | grep '^step-' | sort | tail -n 1; }
again() { scontrol requeue "$SLURM_JOB_ID" || exit 1; exit 0; }

# The address by which Slurm itself reaches the first node: names need not resolve everywhere.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(scontrol --oneliner show node "$first" | sed -n 's/.* NodeAddr=\([^ ]*\).*/\1/p')
export endpoint="$address:$((20000 + SLURM_JOB_ID % 10000))"
# Late processes of an earlier attempt must not meet those of this one.
export attempt="$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}"
# torchrun kills its processes 30 s after it was asked to end, which is too soon for a checkpoint.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="$grace"

before=$(newest)
[ -e "$folder/tokenizer.json" ] && train+=(--resume)
say "attempt ${SLURM_RESTART_COUNT:-0} on $SLURM_JOB_NODELIST from ${before:-the start}"

nearly_over=
trap 'nearly_over=yes; say "the time limit is near: saving"; scancel --signal=TERM "$SLURM_JOB_ID"' USR1
trap 'say "asked to end: saving"' TERM

# One torchrun per node. Slurm would bind a task to one core; torchrun's processes need them all.
srun --kill-on-bad-exit=1 --cpu-bind=none --open-mode=append --output="$logs/node-%n.log" \
  bash -c 'exec "$0" -m torch.distributed.run --nnodes="$SLURM_JOB_NUM_NODES" \
    --nproc-per-node="$processes" --max-restarts="$restarts" --rdzv-backend=c10d \
    --rdzv-endpoint="$endpoint" --rdzv-id="$attempt" \
    --rdzv-conf="is_host=$((SLURM_NODEID == 0))" -m opencolossus "$@"' "$python" "${train[@]}" &
step=$!
wait "$step"
status=$?
# A signal ends `wait` early.
while [ "$status" -gt 128 ] && kill -0 "$step" 2>/dev/null; do
  wait "$step"
  status=$?
done

if [ "$status" -eq 0 ]; then
  say "finished"
  exit 0
fi
if [ -n "$nearly_over" ]; then
  say "saved at $(newest); queueing again for the rest"
  again
fi
# A person's mistake (exit status 2 of a process, in torchrun's account) fails again each time.
if grep -qs 'exitcode *: 2 ' "$logs"/node-*.log; then
  say "refused: $(grep -hs '^colossus: ' "$logs"/node-*.log | tail -n 1)"
  exit 2
fi
failures=0
[ "$(newest)" = "$before" ] && failures=$(cat "$logs/failures" 2>/dev/null || echo 0)
failures=$((failures + 1))
echo "$failures" >"$logs/failures"
if [ "$failures" -ge "$attempts" ]; then
  say "failed $failures times without a new checkpoint (status $status); see $logs"
  exit "$status"
fi
say "failed (status $status); queueing again, see $logs"
again
