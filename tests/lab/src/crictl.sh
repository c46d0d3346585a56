#!/bin/sh
# Stands in for crictl: answers from /run/crictl what was recorded there, notes each call, and exits with 97 on a call that
# the product has no business making.
cd /run/crictl || exit 97
echo "$*" >>calls
[ "$1 $3 $5" = '-r -i -t' ] && [ "$2" = "$4" ] || exit 97
shift 6
command=$1
shift
if [ -e "at/$command" ]; then . "./at/$command"; fi

replay() {
  cat "$1.err" >&2
  cat "$1.out"
  exit "$(cat "$1.rc")"
}

# What is left of the images that were recorded.
images() {
  cat images.err >&2
  comma=
  printf '{"images":['
  for image in images/*.json; do
    if [ -e "$image" ]; then printf %s "$comma" && cat "$image" && comma=,; fi
  done
  printf ']}\n'
}

# New crictl makes a list of several, and nothing where one is missing; up to 1.30 they come one after another.
inspect() {
  kind=$1
  shift
  for id; do
    if ! [ -e "$kind/$id.out" ]; then
      echo "level=error msg=\"getting the status of $id: rpc error: code = NotFound desc = could not find $id\"" >&2
      exit 1
    fi
    if [ -e one-by-one ]; then cat "$kind/$id.out"; fi
  done
  if [ -e one-by-one ]; then return; fi
  if [ $# = 1 ]; then cat "$kind/$1.out" && return; fi
  comma='['
  for id; do printf %s "$comma" && cat "$kind/$id.out" && comma=,; done
  printf ']\n'
}

# Goes on after a refusal. Up to 1.30 each has its line and the end has one; new crictl puts all of them into the last line.
remove() {
  errors=
  for id; do
    hex=${id#sha256:}
    if [ -e "refuses/$hex" ]; then
      words=$(cat "refuses/$hex")
      printf 'E1122 12:02:33.523513   11132 remote_image.go:284] "RemoveImage from image service failed" err="%s" image="%s"\n' "$words" "$id" >&2
      error="error of removing image \\\"$id\\\": $words"
    elif [ -e "images/$hex.json" ]; then
      cat "images/$hex.names"
      rm "images/$hex.json"
      continue
    else
      error="no such image $id"
    fi
    if [ -e one-by-one ]; then printf 'time="2026-11-22T12:07:40Z" level=error msg="%s"\n' "$error" >&2; fi
    errors=${errors:+$errors\\n}$error
  done
  if [ -z "$errors" ]; then return; fi
  if [ -e one-by-one ]; then
    echo 'time="2026-11-22T12:07:40Z" level=fatal msg="unable to remove the image(s)"' >&2
  else
    printf 'time="2026-11-22T12:02:33Z" level=error msg="%s"\n' "$errors" >&2
  fi
  exit 1
}

case "$command $*" in
  'version ' | 'info -o json' | 'ps -a -o json' | 'pods -o json') replay "$command" ;;
  'images -o json') images ;;
  'inspect -o json '* | 'inspectp -o json '*) shift 2 && inspect "$command" "$@" ;;
  'rmi -'* | 'rmi ') exit 97 ;;
  'rmi '*) remove "$@" ;;
  *) exit 97 ;;
esac
