# watch.sh RUN USERS starts the commands in RUN/node-*/command (one argument a
# line) and ends them when no process holds USERS any more, or when one of them
# ended by itself. It holds RUN/alive while it lives. When it is killed its
# servers are killed too.
set -u
run=$1
exec 8>"$run/coming" 9>>"$2" || exit 1
flock --exclusive 8
mv "$run/coming" "$run/alive" # nobody sees it without the lock
for node in "$run"/node-*; do
  mapfile -t command <"$node/command"
  (cd "$node" && exec setpriv --pdeathsig KILL -- "${command[@]}") >"$node/log" 2>&1 8>&- 9>&- &
done
(exec setpriv --pdeathsig KILL -- flock --exclusive 9) 8>&- &
unused=$!
wait -n -p ended
kill -KILL $(jobs -p) 2>/dev/null
wait
# The folder of a server that ended by itself stays for its log; the next start
# removes it.
if [ "${ended:-}" = "$unused" ]; then rm -rf "$run"; fi
