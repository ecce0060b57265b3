#!/bin/sh
# Puts the picture and the figures of a drill into the documents: those of a report of
# nsqdrill run --against=both, in the folder that is named. It takes Chromium.
#
#	make drill-figures REPORT=artefacts/drill/standard
set -eu
report=$(cd "${1:?folder of a report}" && pwd)
docs=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
picture=$docs/pictures/drill-report.png
"$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$work/profile" \
	--window-size=1180,1400 --screenshot="$picture" "file://$report/report.html" 2>/dev/null
test "$(wc -c <"$picture")" -lt 400000 || echo "$picture has more than 400 KB" >&2

# What stands between the two marks of a document is replaced by standard input.
between() {
	awk -v from="<!-- figures of a drill -->" -v to="<!-- end of figures -->" -v with="$work/with" '
		$0 == to { inside = 0 }
		!inside { print }
		$0 == from { inside = 1; while ((getline line < with) > 0) print line }' "$1" >"$work/new"
	cat "$work/new" >"$1"
}

sentence=$(sed -n 3p "$report/report.md")
command=$(tail -n 1 "$report/report.md" | sed 's/^ *//')
{
	printf 'Made with `%s`:\n\n> %s\n\n' "$command" "$sentence"
	sed -n '/^Stock NSQ, under/s/^/> /p' "$report/report.md"
	echo
	sed -n '/^## Beside stock NSQ/,/^## Drills/p' "$report/report.md" | sed '1,2d;$d' | sed '$d'
} >"$work/with"
between "$docs/nsqdrill.md"

{
	printf '`%s` on two cores:\n\n> %s\n\n' "$command" "$sentence"
	echo '| drill | answers that lacked an nsqd that was alive: ours | stock | for up to: ours | stock |'
	echo '|---|--:|--:|--:|--:|'
	sed -n '/^## Beside stock NSQ/,/^## Drills/p' "$report/report.md" |
		awk -F'|' '/^\| [a-z]/ && $2 !~ /^ drill / { print "|" $2 "|" $4 "|" $5 "|" $6 "|" $7 "|" }'
} >"$work/with"
between "$docs/../README.md"
