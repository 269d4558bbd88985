# The dead-man: it puts a unit's former files back when the controller that changed them has gone. This runs where a
# controller asks for it, and as a service of the host.

dead_man=$state/dead-man
watcher=etcdplan-dead-man.service

# Records are one file a unit, in armed/: a line with the invocation that ran before the change, then lines of `file`,
# path, mode, owner, digest of the former content, digests of what a controller wrote there, former content.

# armed_file UNIT PATH: the rest of the line about a file.
armed_file() {
    if [ -e "$dead_man/armed/$1" ]; then
        while read -r kind path rest; do
            if [ "$kind $path" = "file $2" ]; then
                printf '%s\n' "$rest"
            fi
        done <"$dead_man/armed/$1"
    fi
}

# among DIGEST LIST
among() {
    case ,$2, in *,"$1",*) ;; *) return 1 ;; esac
}

# record_of UNIT: for the files of the payload. What is armed already was never verified: the first content stays.
record_of() {
    was=$invocation
    if [ -e "$dead_man/armed/$1" ]; then
        read -r _ was <"$dead_man/armed/$1"
    fi
    echo "invocation ${was:--}"
    printf %s "$payload" | base64 -d | while read -r file mode owner seen content; do
        new=$(printf %s "$content" | base64 -d | sha256sum) new=${new%% *}
        known=$(armed_file "$1" "$file")
        if [ -n "$known" ]; then
            # shellcheck disable=SC2086 # fields
            set -- "$1" $known
            if among "$seen" "$4,$5"; then
                echo "file $file $2 $3 $4 $5,$new ${6-}"
                continue
            fi
        fi
        former=
        if [ "$seen" != - ]; then
            former=$(base64 -w 0 "$root$file") || return
        fi
        echo "file $file $mode $owner $seen $new $former"
    done || return
    if [ -e "$dead_man/armed/$1" ]; then
        while read -r kind path rest; do
            if [ "$kind" = file ] && ! printf %s "$payload" | base64 -d | cut -d ' ' -f 1 | grep -qxF "$path"; then
                echo "file $path $rest"
            fi
        done <"$dead_man/armed/$1"
    fi
}

# arm UNIT PROGRAM SERVICE: both in base64. A unit that did not run has nothing to go back to.
arm() {
    status "$1"
    if [ "$pid" = 0 ] && ! [ -e "$dead_man/armed/$1" ]; then
        return
    fi
    system=$root/etc/systemd/system
    try mkdir -p "$dead_man/armed" "$dead_man/fired"
    try directory "$system/multi-user.target.wants"
    try put "$dead_man/watch.sh" "$2" 600
    try put "$system/$watcher" "$3" 644
    try ctl daemon-reload
    try ctl enable --quiet "$watcher"
    try sync "$system" "$system/multi-user.target.wants" "$state" "$dead_man"
    record=$(record_of "$1") || refuse "the files of $1 cannot be kept for the dead-man"
    try put "$dead_man/armed/$1" "$(encoded "$record
")" 600
    try rm -f "$dead_man/fired/$1"
    # Always a new one: the former may just have found nothing armed, and be about to end.
    try ctl restart "$watcher"
    ctl is-active --quiet "$watcher" || refuse "the dead-man of $1 does not run"
}

# disarm UNIT
disarm() {
    if [ -e "$dead_man/armed/$1" ]; then
        rm -f "$dead_man/armed/$1" && sync "$dead_man/armed"
    fi
}

# judge UNIT: sets foreign (a file that somebody else has changed) and changed.
judge() {
    foreign= changed=
    while read -r kind file mode owner former ours content; do
        if [ "$kind" = file ]; then
            now=$(digest "$root$file") || return
            among "$now" "$former,$ours" || foreign=$file
            [ "$now" = "$former" ] || changed=y
        fi
    done <"$dead_man/armed/$1"
}

put_back() {
    while read -r kind file mode owner former ours content; do
        if [ "$kind" = file ] && [ "$former" = - ]; then
            rm -f "$root$file" && sync "$root${file%/*}" || return
        elif [ "$kind" = file ]; then
            put "$root$file" "$content" "$mode" "${owner#-}" || return
        fi
    done <"$dead_man/armed/$1"
}

# fire UNIT WHY: under the guard. It can be begun again wherever it was cut: the record goes last.
fire() {
    read -r _ was <"$dead_man/armed/$1"
    read -r boot </proc/sys/kernel/random/boot_id
    try judge "$1"
    judge "$1"
    said="put back"
    if [ -n "$foreign" ]; then
        said="not put back, for somebody else has changed $foreign"
    elif [ -n "$changed" ]; then
        try put "$dead_man/restart-$1" "$(encoded "$boot")" 600
        try put_back "$1"
        try ctl daemon-reload
    fi
    status "$1"
    due=$(cat "$dead_man/restart-$1" 2>/dev/null) || due=
    # What was started before its file changed, or after the boot since, runs with the former files.
    if [ -z "$foreign" ] && ! [ -e "$state/held/$1" ] &&
        { [ "$pid" = 0 ] || { [ "$due" = "$boot" ] && [ "$invocation" != "$was" ]; }; }; then
        ctl reset-failed "$1" 2>/dev/null || :
        try ctl restart --no-block "$1"
    fi
    if [ -n "$due" ] || [ -n "$foreign" ]; then
        try put "$dead_man/fired/$1" "$(encoded "$(date -u +%Y-%m-%dT%H:%M:%SZ) $said: $2
")" 600
    fi
    try disarm "$1"
    try rm -f "$dead_man/restart-$1"
}

# beats: whether there is a sign of the controller that holds the lock, other than the last one.
beats() {
    beat=$(cat "$dead_man/heartbeat" 2>/dev/null) && [ "$beat" != "$last_beat" ] || return
    case $(head -c 64 "$state/lock.json" 2>/dev/null) in
    '{"format": 1, "token": '"${beat%% *}"', '*) last_beat=$beat ;;
    *) return 1 ;;
    esac
}

# watch SECONDS: of silence, by the clock that nobody sets. After a boot they begin anew.
watch() {
    last_beat=
    uptime
    since=$up
    while [ -n "$(ls "$dead_man/armed" 2>/dev/null)" ]; do
        uptime
        if beats; then
            since=$up
        elif [ $((up - since)) -ge "$1" ]; then
            fire_all "$1"
        fi
        sleep 1
    done
}

fire_all() (
    exec 9>>"$state/guard"
    flock -n 9 || exit 0
    if beats; then
        exit 0
    fi
    go_on
    for record in "$dead_man/armed"/*; do
        if [ -e "$record" ]; then
            (fire "${record##*/}" "its controller gave no sign of life for $1 s")
        fi
    done
)

case $verb in watch) watch "$1" ;; esac
