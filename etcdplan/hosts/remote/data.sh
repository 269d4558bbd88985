# What an etcd has on its disk. Nothing is written. The arguments begin with its data directory, and that of its log
# where it is elsewhere.
data=$root$1 log=${2:+$root$2}
shift 2
log=${log:-$data/member/wal}

unreadable() {
    answer unreadable "$(encoded "$1")"
}

# size FILE
size() {
    stat -c %s -- "$1"
}

# zeros FILE BYTES: whether there are only zeros behind the first BYTES.
zeros() {
    [ -z "$(tail -c "+$(($2 + 1))" -- "$1" | tr -d '\0' | head -c 1 | od -An -tx1)" ]
}

# locked: nobody has the database open, and nobody can open it as long as this script runs (bbolt, flock).
locked() {
    if [ -L "$data/member/snap/db" ] || ! [ -f "$data/member/snap/db" ]; then
        answer absent
    fi
    exec 8<"$data/member/snap/db"
    flock -n -s 8 || answer busy
}

# listed DIRECTORY PREFIX: what would show that a file is another one than before.
listed() {
    for file in "$1"/*; do
        case ${file##*/} in *[!0-9a-z.-]*) continue ;; db | *.snap | *.snap.db | *.wal) ;; *) continue ;; esac
        if [ -f "$file" ] && ! [ -L "$file" ]; then
            stat -c "$2/${file##*/} %s %i %y %z" -- "$file" || return
        fi
    done
}

case $verb in
segment)
    newest=
    for file in "$log"/*.wal; do
        case ${file##*/} in *[!0-9a-z.-]*) continue ;; esac
        if [ -f "$file" ] && ! [ -L "$file" ]; then
            newest=$file
        fi
    done
    if [ -z "$newest" ]; then
        answer absent
    fi
    all=$(size "$newest" 2>&1) || unreadable "$all"
    # Most of it is allocated and not written yet: the end is sought by halves, in steps of 64 KiB.
    low=0 high=$(((all + 65535) / 65536))
    while [ "$low" -lt "$high" ]; do
        middle=$(((low + high) / 2))
        if zeros "$newest" $((middle * 65536)); then
            high=$middle
        else
            low=$((middle + 1))
        fi
    done
    say "segment ${newest##*/}"
    head -c $((low * 65536)) -- "$newest" || unreadable "the log cannot be read"
    answer looked
    ;;
stopped)
    locked
    list=$({ listed "$data/member/snap" snap && listed "$log" wal; } 2>&1) || unreadable "$list"
    answer content "$(encoded "$list")"
    ;;
piece)
    locked
    case $1 in
    wal/*) file=$log/${1#wal/} ;;
    *) file=$data/member/$1 ;;
    esac
    if [ -L "$file" ]; then
        unreadable 'it is a link now'
    fi
    say piece
    tail -c "+$(($2 + 1))" -- "$file" | head -c "$3"
    answer looked
    ;;
esac
