package wire

import (
	"strings"
	"testing"
)

func TestValidNames(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	tests := []struct {
		name  string
		valid bool
	}{
		{"t", true},
		{".", true},
		{"aZ09._-", true},
		{x(64), true},
		{x(65), false},
		{x(54) + "#ephemeral", true},
		{x(55) + "#ephemeral", false},
		{"t#ephemeral", true},
		{"", false},
		{"#ephemeral", false},
		{"t#", false},
		{"t#ephemeral#ephemeral", false},
		{"t#ephemeralx", false},
		{"t#Ephemeral", false},
		{"*", false},
		{"a b", false},
		{"a\n", false},
		{"a/b", false},
		{"é", false},
		{"a\x00", false},
	}
	for _, tt := range tests {
		if got := ValidTopic(tt.name); got != tt.valid {
			t.Errorf("ValidTopic(%q) = %v, want %v", tt.name, got, tt.valid)
		}
		if got := ValidChannel(tt.name); got != tt.valid {
			t.Errorf("ValidChannel(%q) = %v, want %v", tt.name, got, tt.valid)
		}
	}
}

func TestEphemeral(t *testing.T) {
	for name, want := range map[string]bool{"t#ephemeral": true, "t": false, "ephemeral": false} {
		if got := Ephemeral(name); got != want {
			t.Errorf("Ephemeral(%q) = %v, want %v", name, got, want)
		}
	}
}
