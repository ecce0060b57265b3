package suggest

import "testing"

func TestNearest(t *testing.T) {
	names := []string{"orders", "order", "tcp_address", "#ephemeral"}
	tests := []struct{ word, want string }{
		{"orders", "orders"},
		{"ordrs", "orders"},
		{"odrer", "order"},
		{"tcp_adress", "tcp_address"},
		{"tcpaddress", "tcp_address"},
		{"o", ""},
		{"", ""},
		{"payments", ""},
	}
	for _, tt := range tests {
		if got := Nearest(tt.word, names); got != tt.want {
			t.Errorf("Nearest(%q) = %q, want %q", tt.word, got, tt.want)
		}
	}
	if got := Nearest("orders", nil); got != "" {
		t.Errorf("among none: %q", got)
	}
}
