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

# owned DIRECTORY: made for etcd, unless it is there with data of its own.
owned() {
    if ! [ -d "$1" ]; then
        try directory "${1%/*}"
        try mkdir "$1"
    fi
    if ! [ -e "$1/member" ]; then
        try chown "$owner:" "$1"
        try chmod 700 "$1"
    fi
}

# received [FILE SENT SIZE SHA256]...: in the new directories, as etcd's own.
received() {
    exec 2>&1
    mkdir -p "$new/member/snap" "$new_log" || return
    while [ $# -gt 0 ]; do
        case $1 in
        wal/*) file=$new_log/${1#wal/} ;;
        *) file=$new/member/$1 ;;
        esac
        timeout "$patience" head -c "$2" >"$file" || return
        found=$(digest "$file")
        if [ "$found" != "$4" ]; then
            echo "$1 came with another checksum, $found: the request was cut, or changed on its way"
            return 1
        fi
        if [ "$3" -gt "$2" ]; then
            fallocate -l "$3" "$file" 2>/dev/null || truncate -s "$3" "$file" || return
        fi
        sync "$file" || return
        shift 4
    done
    chown -R "$owner:" "$new" "$new_log" && chmod 700 "$new/member" "$new/member/snap" "$new_log" || return
    chmod 600 "$new/member/snap"/* "$new_log"/* && sync "$new/member/snap" "$new/member" "$new_log"
}

# put_there: the log last, because the identity is in it: until then nothing counts as staged.
put_there() {
    rm -rf "$staged_log" "$waits/member" || return
    if [ -n "$log" ]; then
        mv -T "$new/member" "$waits/member" && sync "$waits" &&
            mv -T "$new_log" "$staged_log" && sync "${staged_log%/*}"
    else
        mv -T "$new/member" "$waits/member" && sync "$waits"
    fi
}

# remains: of transfers that were cut off by a power cut; whoever has the guard is the only one who may send.
remains() {
    rm -rf "$waits"/.new.* ${log:+"$staged_log".new.*}
}

# adopt: what counts as no data is not in the way. A member without a log is set aside, but only while the restored one
# still waits: what is in its place after that is the restored one, with its log still to come.
adopt() {
    if [ -e "$waits/member" ]; then
        for segment in "${log:-$data/member/wal}"/*.wal; do
            if [ -e "$segment" ] || [ -L "$segment" ]; then
                echo "there is something in the way: $segment" >&2
                return 1
            fi
        done
        set_aside "$data" '' && mv -T "$waits/member" "$data/member" && sync "$data" || return
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
    owned "$data"
    room "$data" "$needed"
    if [ -n "$log" ]; then
        owned "${log%/*}"
        room "${log%/*}" "$needed_log"
    fi
    try mkdir -p "$waits"
    try chown "$owner:" "$waits"
    found=$(mktemp -d "$waits/.new.XXXXXXXX" 2>&1) || refuse "$found"
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
    try adopt
    ;;
discard-staged)
    claimed "$id" "$token" "$text"
    try rm -rf "$staged_log"
    try rm -rf "$waits"
    try remains
    ;;
*) refuse "there is no effect $verb" ;;
esac
answer done
