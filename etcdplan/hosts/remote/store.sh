# The verbs of etcdplan's own directory.

append() {
    size=0 fresh=y
    if [ -e "$1" ]; then
        size=$(stat -c %s "$1") || return
        fresh=
    fi
    if printf %s "$payload" | base64 -d >>"$1" && sync "$1"; then
        if [ -n "$fresh" ]; then
            sync "${1%/*}"
        fi
        return
    fi
    truncate -s "$size" "$1"
    return 1
}

case $verb in
read)
    if [ -e "$state/$1" ] || [ -L "$state/$1" ]; then
        content=$(base64 -w 0 "$state/$1" 2>&1) || answer unreadable "$(encoded "$content")"
        answer content "$content"
    fi
    answer absent
    ;;
names)
    cd "$state/$1" 2>/dev/null || {
        if [ -e "$state/$1" ]; then
            answer unreadable "$(encoded "$1 is not a directory that can be read")"
        fi
        answer absent
    }
    list=$(ls 2>&1) || answer unreadable "$(encoded "$list")"
    answer content "$(encoded "$list")"
    ;;
write)
    receive "$2"
    go_on
    file=$state/$1
    try mkdir -p "${file%/*}"
    try put "$file" "$payload" 600
    answer done
    ;;
append)
    receive "$2"
    go_on
    file=$state/$1
    try mkdir -p "${file%/*}"
    try append "$file"
    answer done
    ;;
replace)
    receive "$2"
    guard "$4"
    file=$state/$1
    try mkdir -p "${file%/*}"
    now=$(digest "$file" 2>&1) || refuse "$now"
    if [ "$now" != "$3" ]; then
        answer differs
    fi
    try put "$file" "$payload" 600
    answer done
    ;;
esac
