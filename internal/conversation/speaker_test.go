package conversation

import (
	"strings"
	"testing"

	"neurosphere.ai/neurosphere/events"
)

const answerText = "Thank you, Ann. The office opens at nine, and the office closes at five. Would you like to come by on Monday?"

// feedWords says text in pieces of n bytes through a speaker that follows said.
func feedWords(said, text string, n int) string {
	var out strings.Builder
	s := newSpeaker(events.Ask{Turn: 1, Attempt: 2, Said: said}, func(a events.Answer) error { out.WriteString(a.Text); return nil })
	for len(text) > 0 {
		k := min(n, len(text))
		_ = s.say(text[:k])
		text = text[k:]
	}
	s.done(nil)
	return out.String()
}

func words(s string) string { return strings.Join(strings.Fields(s), " ") }

// Wherever the first attempt died, the caller hears each word once: whether the
// next model starts over, goes on, or goes on with a few words again.
func TestNoWordIsSaidTwice(t *testing.T) {
	for cut := 1; cut < len(answerText); cut++ {
		said, rest := answerText[:cut], answerText[cut:]
		for _, n := range []int{1, 7, 1000} {
			if got := words(said + feedWords(said, answerText, n)); got != words(answerText) {
				t.Fatalf("cut at %d, started over by %d: %q", cut, n, got)
			}
			if got := words(said + feedWords(said, rest, n)); got != words(answerText) && !strings.HasPrefix(answerText, rest) {
				t.Fatalf("cut at %d, gone on by %d: %q", cut, n, got)
			}
		}
	}
	if got := feedWords("The office opens at nine, and", "at nine, and the office closes.", 1000); words(got) != "the office closes." {
		t.Errorf("overlap was repeated: %q", got)
	}
}

func TestAnotherAnswerIsSaidWhole(t *testing.T) {
	if got := feedWords("We open at", "Please hold the line.", 5); words(got) != "Please hold the line." {
		t.Errorf("%q", got)
	}
}
