package main

import "regexp"

// masked stands for what a bundle must not tell, nor config without being asked to.
const masked = "***"

var (
	secretName = regexp.MustCompile(`(?i)secret|passw|token|credential|apikey|api[-_]key`)
	userinfo   = regexp.MustCompile(`://[^/?#@\s"']+@`)
	parameter  = regexp.MustCompile(`(?i)([?&][^=&\s"']*(?:secret|passw|token|credential|key|sig)[^=&\s"']*=)[^&\s"']+`)
	bearer     = regexp.MustCompile(`(?i)((?:bearer|basic)\s+)[A-Za-z0-9+/_.=~-]{8,}`)
)

// mask replaces what looks like a password or a token in text: in URLs, and after the
// names of HTTP's ways to log in.
func mask(text string) string {
	text = userinfo.ReplaceAllString(text, "://"+masked+"@")
	text = parameter.ReplaceAllString(text, "${1}"+masked)
	return bearer.ReplaceAllString(text, "${1}"+masked)
}

// maskOption masks the value of an option: all of it if the name tells that it is a secret.
func maskOption(name, value string) string {
	if value != "" && secretName.MatchString(name) {
		return masked
	}
	return mask(value)
}
