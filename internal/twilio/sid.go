// Package twilio is what the product needs of Twilio: signatures of its
// requests, the TwiML we answer with, ConversationRelay frames, webhook forms
// and the sending of texts. It is the only package that knows Twilio's wire.
package twilio

// sidLength is two letters that name the resource and 32 hexadecimal digits.
const sidLength = 34

// ValidSID reports whether s is an identifier of the kind prefix names ("CA",
// "AC", "SM" …). Such a string is safe as one token of a subject, a file name
// and a log line.
func ValidSID(prefix, s string) bool {
	if len(s) != sidLength || len(prefix) != 2 || s[:2] != prefix {
		return false
	}
	for i := 2; i < len(s); i++ {
		c := s[i]
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
			return false
		}
	}
	return true
}

// validMessageSID reports whether s names a text or a text with media.
func validMessageSID(s string) bool { return ValidSID("SM", s) || ValidSID("MM", s) }
