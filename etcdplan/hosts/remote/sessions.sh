# The SSH sessions through which calls to etcd were let. The tunnel of such a call ends with the process that carries its
# session. `sessions` has a line for each: token, boot, process, its start; a process is ended only if all of them fit.

# about PID: sets process (its name), process_state, parent and started (ticks since boot).
about() {
    read -r stat 2>/dev/null <"/proc/$1/stat" || return
    process=${stat#*"("}
    process=${process%")"*}
    set -f
    # shellcheck disable=SC2086 # fields
    set -- ${stat##*")"}
    set +f
    if [ $# -lt 20 ]; then
        return 1
    fi
    process_state=$1 parent=$2 started=${20}
}

# find_session: sets session and started, of the process of the SSH server that carries this script.
find_session() {
    session=$$
    while about "$session"; do
        case $process in sshd | sshd-session | dropbear) return ;; esac
        session=$parent
    done
    session=
    return 1
}

# record_session TOKEN: under the guard. Of older tokens nothing is left to be ended when a newer one calls.
record_session() {
    find_session || refuse 'no SSH server is found among the parents of this command, so that its session could not be ended'
    line="$1 $boot $session $started"
    lines=$(grep "^$1 " "$state/sessions" 2>/dev/null) || lines=
    if ! printf '%s\n' "$lines" | grep -qxF "$line"; then
        try put "$state/sessions" "$(encoded "$lines
$line
")" 600
    fi
}

# lives PID START
lives() {
    about "$1" && [ "$started" = "$2" ] && case $process_state in Z | X | x) false ;; esac
}

# end_session PID START
end_session() {
    for signal in TERM KILL; do
        uptime
        limit=$((up + 3))
        while lives "$1" "$2"; do
            kill "-$signal" "$1" 2>/dev/null || :
            uptime
            if [ "$up" -ge "$limit" ]; then
                continue 2
            fi
            sleep 0.05
        done
        return
    done
    refuse "the SSH session of process $1 does not end"
}

case $verb in
end-sessions) # TOKEN: of those with older ones.
    guard 10
    if [ -e "$state/sessions" ]; then
        find_session || :
        lines=$(cat "$state/sessions" 2>&1) || refuse "$lines"
        while read -r token session_boot pid start; do
            if [ -n "$token" ] && [ "$token" -lt "$1" ] && [ "$session_boot" = "$boot" ] && [ "$pid" != "$session" ]; then
                end_session "$pid" "$start"
            fi
        done <<END
$lines
END
    fi
    answer done
    ;;
esac
