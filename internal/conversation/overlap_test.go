package conversation

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode"

	"neurosphere.ai/neurosphere/events"
)

// vocabulary has no word twice, so that a word said twice is seen.
var vocabulary = strings.Fields("the office opens at nine and closes when everybody has gone home; Ann's roof leaks, since Monday. " +
	"Please bring your policy number — über ¿mañana? 日本 with 24 pictures of it! I'll tell Paula")

// A model that starts over, goes on, or goes on with some words again: the
// caller hears each word once, wherever the first attempt died and however the
// second one comes in pieces.
func TestEachWordIsHeardOnce(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4000) {
		r := rand.New(rand.NewPCG(seed, 7))
		list := slices.Clone(vocabulary)
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		text := strings.Join(list[:6+r.IntN(20)], " ")
		cut := 1 + r.IntN(len(text))
		for !validCut(text, cut) {
			cut++
		}
		heard := text[:cut]
		for name, model := range map[string]string{
			"starts over":                    text,
			"goes on":                        text[cut:],
			"says the last words again":      withLastWords(text, cut, 2+r.IntN(5)),
			"starts over in other spelling":  strings.ToUpper(strings.ReplaceAll(text, ",", " —")),
			"starts over with a space first": " " + text,
		} {
			if got := heard + feedPieces(r, heard, model); bare(got) != bare(text) {
				t.Fatalf("seed %d, %s: heard %q, then the model said %q:\n got %q\nwant %q", seed, name, heard, model, got, text)
			}
		}
	}
}

// withLastWords is text from n words before cut on, or from cut on when there
// are not as many.
func withLastWords(text string, cut, n int) string {
	at := cut
	for n > 0 {
		start := strings.LastIndex(text[:at], " ")
		if start < 0 {
			return text[cut:]
		}
		if bare(text[start:at]) != "" {
			n--
		}
		at = start
	}
	return text[at+1:]
}

func validCut(s string, i int) bool { return i == len(s) || s[i]&0xC0 != 0x80 }

// bare is what of s can be heard: letters and digits.
func bare(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, s)
}

func feedPieces(r *rand.Rand, heard, model string) string {
	var out strings.Builder
	s := newSpeaker(events.Ask{Turn: 1, Attempt: 2, Said: heard}, func(a events.Answer) error { out.WriteString(a.Text); return nil })
	for len(model) > 0 {
		n := min(1+r.IntN(9), len(model))
		for !validCut(model, n) {
			n++
		}
		_ = s.say(model[:n])
		model = model[n:]
	}
	s.done(nil)
	return out.String()
}

func TestPunctuationIsNotSaidTwice(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ said, model, want string }{
		{"Thank you,", "Thank you, Ann.", "Ann."},
		{"Thank you", "Thank you, Ann.", ", Ann."},
		{"Thank you...", "Thank you, Ann.", ", Ann."},
		{"Goodbye!", "Goodbye!", ""},
		{"One moment. ", "One moment.", ""},
		{"Is it Monday or", "Monday", "Monday"}, // one word is no repetition
		{"Yes.", "We open at nine.", "We open at nine."},
		{"…", "We open at nine.", "We open at nine."},
	} {
		if got := feedWords(tc.said, tc.model, 3); words(got) != tc.want {
			t.Errorf("after %q the model says %q: heard %q, want %q", tc.said, tc.model, got, tc.want)
		}
	}
}

// Whatever comes, what is passed on is the end of it: nothing is made up and
// there is no hole in it.
func FuzzOverlapKeepsTheEnd(f *testing.F) {
	f.Add("Thank you, Ann. The", "The office opens.", 3)
	f.Add("a b", "b a b\xff", 1)
	f.Fuzz(func(t *testing.T, said, model string, n int) {
		if n < 1 || n > 64 || len(said)+len(model) > 4000 {
			t.Skip()
		}
		if got := feedWords(said, model, n); !strings.HasSuffix(model, got) {
			t.Errorf("after %q the model says %q: heard %q", said, model, got)
		}
	})
}
