package wire

import "strings"

const (
	maxName         = 64
	ephemeralSuffix = "#ephemeral"
)

// ValidTopic says whether name may name a topic: 1 to 64 characters of
// [.a-zA-Z0-9_-], of which the last ones may be the literal #ephemeral with at
// least one character before it.
func ValidTopic(name string) bool { return validName(name) }

// ValidChannel says whether name may name a channel; the rule is ValidTopic's.
func ValidChannel(name string) bool { return validName(name) }

// Ephemeral says whether the topic or channel called name vanishes with its last
// user. It does not check that name is valid.
func Ephemeral(name string) bool { return strings.HasSuffix(name, ephemeralSuffix) }

func validName(name string) bool {
	if len(name) > maxName {
		return false
	}
	base := strings.TrimSuffix(name, ephemeralSuffix)
	for i := range len(base) {
		c := base[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return base != ""
}
