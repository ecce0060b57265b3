// Package suggest finds what somebody may have meant who wrote a name that is not there.
package suggest

// Nearest returns the one of names that is most like word, the first of several; "" if
// none differs by less than one letter and another for each four of word.
func Nearest(word string, names []string) string {
	best, distance := "", 2+len(word)/4
	for _, name := range names {
		if d := editDistance(word, name); d < distance {
			best, distance = name, d
		}
	}
	return best
}

// editDistance is the number of letters to insert, delete or change that make b
// of a.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1) // distances of the prefix of a to all prefixes of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := diagonal
			if a[i] != b[j] {
				changed++
			}
			diagonal = row[j+1]
			row[j+1] = min(changed, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
