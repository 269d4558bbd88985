# What every effect has in common, and the verbs about claims.

effects=$state/effects

# current TOKEN: under the guard, and only the host's newest one.
current() {
    guard 30
    if [ -e "$state/lock.json" ]; then
        # The one line that etcdplan writes; anything else has no token.
        token=$(sed -n -e 's/^{"format": 1, "token": \([1-9][0-9]\{0,17\}\), "held": .*}$/\1/p' \
            -e '2s/.*/damaged/p' "$state/lock.json" 2>/dev/null)
    else
        token=
    fi
    if [ -z "$token" ] || [ "$token" != "$1" ]; then
        answer fenced "$(encoded "$token")"
    fi
}

# claimed ID TOKEN NOTE: under the guard, once.
claimed() {
    current "$2"
    try mkdir -p "$effects"
    if ! (set -C && : >"$effects/$1") 2>/dev/null; then
        if [ -e "$effects/$1" ]; then
            answer claimed
        fi
        try touch "$effects/$1"
        refuse "$effects/$1 cannot be written"
    fi
    claim=$effects/$1
    try write_note "$3"
    try sync "$effects"
}

# By cat, which says why it cannot write; dash's own printf says "I/O error" of a full disk.
write_note() {
    printf '%s\n' "$1" | cat >>"$claim" && sync "$claim"
}

# note RESULT [BASE64]: what has happened has happened, whether or not it can be written down.
note() {
    write_note "{\"result\": \"$1\", \"reply\": \"${2-}\"}" 2>/dev/null || :
    # shellcheck disable=SC2012 # names are percent-encoded
    ls -t "$effects" 2>/dev/null | tail -n +201 | while read -r old; do
        rm -f "$effects/$old"
    done
}

# SIGTERM is ignored here, and by all that is started here.
ctl() {
    timeout -s KILL 30 systemctl "$@"
}

# status UNIT: sets load, active, pid (0: no program, or one that is about to become it) and more, as systemd has them.
status() {
    shown=$(ctl show -p LoadState,ActiveState,MainPID,ExecMainPID,ExecMainStatus,InvocationID \
        "$1" 2>&1) || refuse "systemctl: ${shown:-no answer}"
    load= active= pid=0 last_pid=0 last_status=0 invocation=
    while IFS='=' read -r key value; do
        case $key in
        LoadState) load=$value ;;
        ActiveState) active=$value ;;
        MainPID) pid=$value ;;
        ExecMainPID) last_pid=$value ;;
        ExecMainStatus) last_status=$value ;;
        InvocationID) invocation=$value ;;
        esac
    done <<END
$shown
END
    case $(readlink "$root/proc/$pid/exe") in
    */systemd | */systemd-executor) pid=0 ;;
    esac
}

is_gone() {
    status "$1"
    [ "$pid" = 0 ] && { [ "$active" = inactive ] || [ "$active" = failed ]; }
}

# patiently SECONDS COMMAND...: until it succeeds, or the time is over.
patiently() {
    uptime
    patience=$((up + $1))
    shift
    until "$@"; do
        uptime
        if [ "$up" -ge "$patience" ]; then
            return 1
        fi
        sleep 0.05
    done
}

# stop UNIT GRACE
stop() {
    if is_gone "$1"; then
        return
    fi
    before=$active
    try ctl stop --no-block "$1"
    if ! patiently "$2" is_gone "$1"; then
        try ctl kill -s KILL "$1"
        patiently 10 is_gone "$1" || refuse "$1 does not end, not even on SIGKILL"
    fi
    # A program that was ended has not failed.
    if [ "$active" = failed ] && [ "$before" != failed ]; then
        try ctl reset-failed "$1"
    fi
}

# forget_failure UNIT: what it failed with has changed.
forget_failure() {
    status "$1"
    if [ "$active" = failed ]; then
        try ctl reset-failed "$1"
    fi
}

# directories DATA LOG USER: what etcd needs and cannot make itself; a file system that was just mounted is root's.
directories() {
    if ! [ -d "$root$1" ]; then
        try directory "${root}${1%/*}"
        try mkdir "$root$1"
    fi
    if ! [ -e "$root$1/member" ]; then
        try chown "$3:" "$root$1"
        try chmod 700 "$root$1"
    fi
    # etcd makes the log's directory itself, by a rename in the one above it.
    above=${2%/*}
    if [ -n "$2" ] && ! [ -d "$root$above" ]; then
        try directory "$root$above"
        try chown "$3:" "$root$above"
    fi
}

unused() {
    number=1
    while [ -e "$1-$number" ] || [ -L "$1-$number" ]; do
        number=$((number + 1))
    done
    printf '%s' "$1-$number"
}

# set_aside DATA LOG: renames, as the data directory may be a mount point within it. The log goes last: until then
# the data counts as there.
set_aside() {
    time=$(date -u +%Y%m%dT%H%M%SZ)
    if [ -e "$1/member" ] || [ -L "$1/member" ]; then
        if [ -e "$1/member/snap/db" ] && ! flock -n "$1/member/snap/db" true; then
            echo "another etcd runs on $1" >&2
            return 1
        fi
        aside=$(unused "$1/set-aside-$time")
        mkdir "$aside" && chown --reference="$1" "$aside" && mv -T "$1/member" "$aside/member" &&
            sync "$aside" "$1" || return
    fi
    if [ -n "$2" ] && [ -e "$2" ]; then
        # A mount point cannot be renamed, and etcd could not make its log there either.
        mv -T "$2" "$(unused "$2.set-aside-$time")" && sync "${2%/*}"
    fi
}

# user NAME: make the system user that etcd runs as, or that takes backups, unless it is there.
user() {
    if id -u "$1" >/dev/null 2>&1; then
        return
    fi
    about=etcd users=$root/etc/sysusers.d/etcdplan.conf
    case $1 in etcdplan-*) about=$1 users=$root/etc/sysusers.d/$1.conf ;; esac
    try mkdir -p "$root/etc/sysusers.d"
    try put "$users" "$(encoded "u $1 - \"$about\" /var/lib/$about
")" 644
    try systemd-sysusers "$users"
}

case $verb in
outcome)
    # Whoever asks has lost the answer. What has not begun yet never will: the ID is claimed here.
    guard "$2" "$1"
    try mkdir -p "$effects"
    if (set -C && : >"$effects/$1") 2>/dev/null; then
        claim=$effects/$1
        try write_note '{"effect": "never begun"}'
        answer never
    fi
    if ! [ -e "$effects/$1" ]; then
        refuse "$effects/$1 cannot be written"
    fi
    found=$(sed -n 's/^{"result": "\([a-z]*\)", "reply": "\([A-Za-z0-9+/=]*\)"}$/\1 \2/p' "$effects/$1" | tail -n 1)
    answer noted "$found"
    ;;
call)
    # The answer lets a call to etcd through; until it ends, or its time is over, nobody else gets the guard.
    claimed "$1" "$2" "$3"
    record_session "$2"
    uptime
    try put "$state/calling" "$(encoded "$1 $boot $((up + $4))
")" 600
    claim=
    answer done
    ;;
called) # ID RESULT KEEP-THE-GUARD SIZE
    receive "$4"
    guard 10 "$1"
    if [ -z "$3" ] && [ "$call" = "$1" ]; then
        try rm -f "$state/calling"
    fi
    claim=$effects/$1
    note "$2" "$payload"
    claim=
    answer done
    ;;
esac
