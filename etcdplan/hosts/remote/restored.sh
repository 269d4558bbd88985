# A member's restored data, staged beside what is there and put in its place. The verbs' arguments begin with the
# effect's ID, the token and the note; then etcd's unit, its data directory, and that of its log where it is elsewhere.
#
# stage-data ... USER [FILE SENT SIZE SHA256]...: the files come one after the other on stdin, as many bytes as are sent,
# the rest of the size is zeros. They wait beside their place until the claim: nobody waits for a slow line.

id=$1 token=$2 text=$3 unit=$4 data=$root$5 log=${6:+$root$6}
shift 6
waits=$data/staged-by-etcdplan
patience=3600
go_on

# the log's directory waits on its own file system
staged_log=$waits/member/wal
if [ -n "$log" ]; then
    staged_log=$log.staged-by-etcdplan
fi

new= new_log=
trap 'rm -rf ${new:+"$new"} ${new_log:+"$new_log"}' EXIT

# room DIRECTORY BYTES
room() {
    # shellcheck disable=SC2046 # two numbers
    free=$(printf '%s * %s' $(stat -f -c '%a %S' "$1"))
    free=$((${free:-0}))
    if [ "$2" -gt "$free" ]; then
        refuse "No space left on device: the restored data need $2 bytes in ${1#"$root"}, $free are free"
    fi
}

# inside DIRECTORY: go there, if it is root's own and no link. Etcd's user may own the one above it and lay something else
# in its place at any time: so what is in it is named from within.
inside() {
    above=$(cd -P "${1%/*}" && pwd -P) && cd -P "$1" && [ "$(pwd -P)" = "$above/${1##*/}" ] && [ -O . ]
}

waiting() {
    inside "$waits" 2>/dev/null || refuse "${waits#"$root"} is not a directory of root's: look at it, and remove it"
}

# one FILE SENT SIZE SHA256: from stdin.
one() {
    timeout "$patience" head -c "$2" >"$1" || return
    found=$(digest "$1")
    if [ "$found" != "$4" ]; then
        echo "$1 came with another checksum, $found: the request was cut, or changed on its way"
        return 1
    fi
    if [ "$3" -gt "$2" ]; then
        fallocate -l "$3" "$1" 2>/dev/null || truncate -s "$3" "$1" || return
    fi
    sync "$1"
}

# received [FILE SENT SIZE SHA256]...: in the new directories, which become etcd's own when all is there.
received() {
    exec 2>&1
    mkdir -p "$new/member/snap" "$new_log" || return
    while [ $# -gt 0 ]; do
        case $1 in
        wal/*) (inside "$new_log" && one "${1#wal/}" "$2" "$3" "$4") || return ;;
        *) (cd "$new/member" && one "$1" "$2" "$3" "$4") || return ;;
        esac
        shift 4
    done
    chmod 700 "$new/member" "$new/member/snap" && chmod 600 "$new/member/snap"/* &&
        sync "$new/member/snap" "$new/member" &&
        (inside "$new_log" && chmod 700 . && chmod 600 ./* && sync . && chown -R "$owner:" .) &&
        chown -R "$owner:" "$new"
}

# put_there: the log last, because the identity is in it: until then nothing counts as staged.
put_there() {
    rm -rf "$staged_log" member && mv -T "$new/member" member && sync . || return
    if [ -n "$log" ]; then
        mv -T "$new_log" "$staged_log" && sync "${staged_log%/*}"
    fi
}

# remains: of transfers that were cut off by a power cut; whoever has the guard is the only one who may send.
remains() {
    rm -rf ./.new.* ${log:+"$staged_log".new.*}
}

# adopt: what counts as no data is not in the way. A member without a log is set aside, but only while the restored one
# still waits: what is in its place after that is the restored one, with its log still to come.
adopt() {
    if [ -e member ]; then
        for segment in "${log:-$data/member/wal}"/*.wal; do
            if [ -e "$segment" ] || [ -L "$segment" ]; then
                echo "there is something in the way: $segment" >&2
                return 1
            fi
        done
        set_aside "$data" '' && mv -T member "$data/member" && sync "$data" || return
    fi
    if [ -n "$log" ]; then
        if [ -d "$log" ] && ! [ -L "$log" ]; then
            rm -f "$log/.touch"
            rmdir "$log" 2>/dev/null
        fi
        if [ -e "$log" ] || [ -L "$log" ]; then
            echo "there is something in the way: $log" >&2
            return 1
        fi
        mv -T "$staged_log" "$log" && sync "${log%/*}" || return
    fi
    remains
    rmdir "$waits" && sync "$data"
}

case $verb in
stage-data)
    owner=$1
    shift
    status "$unit"
    if [ "$load" = loaded ]; then
        owner=$(ctl show -p User --value "$unit")
        owner=${owner:-root}
    fi
    user "$owner"
    needed=0 needed_log=0 is=file
    for word in "$@"; do
        case $is in
        file) is=sent file=$word ;;
        sent) is=size ;;
        size)
            is=sum
            case $log:$file in
            ?*:wal/*) needed_log=$((needed_log + word)) ;;
            *) needed=$((needed + word)) ;;
            esac
            ;;
        *) is=file ;;
        esac
    done
    directories "${data#"$root"}" "${log#"$root"}" "$owner"
    if ! [ -d "$waits" ]; then
        try mkdir "$waits"
    fi
    waiting
    # What remains of others takes room. The guard is not kept: nobody waits for a slow line.
    current "$token"
    try remains
    flock -u 9
    room "$data" "$needed"
    if [ -n "$log" ]; then
        room "${log%/*}" "$needed_log"
    fi
    found=$(mktemp -d .new.XXXXXXXX 2>&1) || refuse "$found"
    new=$found new_log=$found/member/wal
    if [ -n "$log" ]; then
        found=$(mktemp -d "$staged_log.new.XXXXXXXX" 2>&1) || refuse "$found"
        new_log=$found
    fi
    wrong=$(received "$@") || refuse "${wrong:-the files cannot be written}"
    claimed "$id" "$token" "$text"
    try put_there
    try remains
    ;;
adopt-staged)
    claimed "$id" "$token" "$text"
    is_gone "$unit" || refuse "$unit still runs"
    waiting
    try adopt
    ;;
discard-staged)
    claimed "$id" "$token" "$text"
    try rm -rf "$staged_log" ${log:+"$staged_log".new.*}
    try rm -rf "$waits"
    ;;
*) refuse "there is no effect $verb" ;;
esac
answer done
