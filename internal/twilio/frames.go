package twilio

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxFrame is the largest frame ParseFrame reads, in bytes.
const MaxFrame = 64 << 10

// Frame is one message of Twilio on a ConversationRelay socket: a Setup, Prompt,
// Interrupt, DTMF, ErrorFrame, Info or Unknown.
type Frame interface{ frame() }

// Setup is the first frame of every socket.
type Setup struct {
	SessionID     string // VX…; a new one when a call is connected anew
	AccountSID    string
	CallSID       string // always a valid CA identifier
	ParentCallSID string
	From, To      string
	ForwardedFrom string
	CallType      string // "PSTN" …
	CallerName    string
	Direction     string
	CallStatus    string            // in the lower case of the webhooks
	Parameters    map[string]string // as given to Relay
}

// Prompt is what the caller said.
type Prompt struct {
	Text string
	Lang string // primary tag only ("en") when the language is detected
	Last bool   // the caller has finished; false only for partial prompts
}

// Interrupt says that the caller began to speak and that Twilio has stopped
// speaking.
type Interrupt struct {
	Heard string        // what the caller heard of the current utterance
	After time.Duration // since the utterance began; 0 when unknown
}

// DTMF is one key pressed.
type DTMF struct{ Digit string }

// ErrorFrame is Twilio's complaint, most often about a frame of ours, which it
// quotes: Description can hold spoken words.
type ErrorFrame struct{ Description string }

// Info tells of the state of the session.
type Info struct {
	Name  string    // "agentSpeaking", "clientSpeaking", "tokensPlayed" …
	Value string    // "on" and "off", or the words played
	At    time.Time // zero when not told
}

// Unknown is a frame of a type this package does not know; it is to be ignored.
type Unknown struct {
	Type string // at most 64 bytes of it
}

func (Setup) frame()      {}
func (Prompt) frame()     {}
func (Interrupt) frame()  {}
func (DTMF) frame()       {}
func (ErrorFrame) frame() {}
func (Info) frame()       {}
func (Unknown) frame()    {}

// ParseFrame reads one text frame. It fails on what is not one JSON object with
// a type, on text that is not UTF-8, on more than MaxFrame bytes and on a setup
// without the call it is for. Anything else Twilio might change is tolerated: a
// field of another JSON type is read as far as it makes sense, or as empty. The
// errors quote nothing of the frame.
func ParseFrame(data []byte) (Frame, error) {
	if len(data) > MaxFrame {
		return nil, fmt.Errorf("parse relay frame: %d bytes, at most %d", len(data), MaxFrame)
	}
	if !utf8.Valid(data) {
		return nil, errors.New("parse relay frame: not UTF-8")
	}
	var w wireFrame
	if err := json.Unmarshal(data, &w); err != nil {
		return nil, fmt.Errorf("parse relay frame: %w", err)
	}
	var kind string
	if json.Unmarshal(w.Type, &kind) != nil || kind == "" {
		return nil, errors.New("parse relay frame: no type")
	}
	switch kind {
	case "setup":
		return w.setup()
	case "prompt":
		return Prompt{Text: string(w.VoicePrompt), Lang: clip(string(w.Lang), maxWord), Last: w.Last != "false"}, nil
	case "interrupt":
		return Interrupt{Heard: string(w.Utterance), After: w.UtteranceMS.duration()}, nil
	case "dtmf":
		return DTMF{Digit: string(w.Digit)}, nil
	case "error":
		return ErrorFrame{Description: string(w.Description)}, nil
	case "info":
		return Info{Name: string(w.Name), Value: string(w.Value), At: w.TS.time()}, nil
	}
	return Unknown{Type: clip(kind, 64)}, nil
}

// wireFrame holds the fields of every type of frame.
type wireFrame struct {
	Type json.RawMessage `json:"type"`

	SessionID     loose      `json:"sessionId"`
	AccountSID    loose      `json:"accountSid"`
	CallSID       loose      `json:"callSid"`
	ParentCallSID loose      `json:"parentCallSid"`
	From          loose      `json:"from"`
	To            loose      `json:"to"`
	ForwardedFrom loose      `json:"forwardedFrom"`
	CallType      loose      `json:"callType"`
	CallerName    loose      `json:"callerName"`
	Direction     loose      `json:"direction"`
	CallStatus    loose      `json:"callStatus"`
	Parameters    looseTable `json:"customParameters"`

	VoicePrompt loose `json:"voicePrompt"`
	Lang        loose `json:"lang"`
	Last        loose `json:"last"`
	Utterance   loose `json:"utteranceUntilInterrupt"`
	UtteranceMS loose `json:"durationUntilInterruptMs"`
	Digit       loose `json:"digit"`
	Description loose `json:"description"`
	Name        loose `json:"name"`
	Value       loose `json:"value"`
	TS          loose `json:"ts"`
}

func (w wireFrame) setup() (Frame, error) {
	if !ValidSID("CA", string(w.CallSID)) {
		return nil, errors.New("parse relay frame: setup without a call")
	}
	return Setup{
		SessionID:     clip(string(w.SessionID), maxWord),
		AccountSID:    string(w.AccountSID),
		CallSID:       string(w.CallSID),
		ParentCallSID: string(w.ParentCallSID),
		From:          caller(clip(string(w.From), maxAddress)),
		To:            clip(string(w.To), maxAddress),
		ForwardedFrom: string(w.ForwardedFrom),
		CallType:      string(w.CallType),
		CallerName:    string(w.CallerName),
		Direction:     string(w.Direction),
		CallStatus:    strings.ToLower(string(w.CallStatus)),
		Parameters:    w.Parameters,
	}, nil
}

// loose is the text of a JSON string, number or boolean; anything else is empty.
// Twilio has changed numbers to strings and back without notice.
type loose string

// UnmarshalJSON never fails on valid JSON.
func (l *loose) UnmarshalJSON(data []byte) error {
	*l = ""
	switch data[0] {
	case '"':
		var s string
		err := json.Unmarshal(data, &s)
		*l = loose(withoutNUL(s))
		return err
	case '{', '[', 'n':
		return nil
	}
	*l = loose(data)
	return nil
}

// looseTable is a JSON object of loose values; anything else is empty.
type looseTable map[string]string

// UnmarshalJSON never fails on valid JSON.
func (l *looseTable) UnmarshalJSON(data []byte) error {
	*l = nil
	if data[0] != '{' {
		return nil
	}
	var values map[string]loose
	if err := json.Unmarshal(data, &values); err != nil {
		return err
	}
	*l = make(looseTable, len(values))
	for name, value := range values {
		(*l)[name] = string(value)
	}
	return nil
}

// number is the finite number l stands for, not below zero; 0 when it is none.
func (l loose) number() float64 {
	n, err := strconv.ParseFloat(string(l), 64)
	if err != nil || math.IsNaN(n) || n < 0 {
		return 0
	}
	return n
}

// duration reads l as milliseconds, up to a day.
func (l loose) duration() time.Duration {
	const day = 24 * time.Hour
	ms := min(l.number(), float64(day/time.Millisecond))
	return time.Duration(ms * float64(time.Millisecond))
}

// time reads l as milliseconds since 1970.
func (l loose) time() time.Time {
	const year3000 = 32503680000000
	ms := l.number()
	if ms == 0 || ms > year3000 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}

// withoutNUL drops the one character of UTF-8 a database cannot hold as text.
func withoutNUL(s string) string { return strings.ReplaceAll(s, "\x00", "") }

// clip is the longest beginning of s of at most n bytes that ends with a whole
// character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Text is words to speak. Spaces between tokens are the model's: tokens are
// joined as they are.
type Text struct {
	Token         string `json:"token"`
	Last          bool   `json:"last"`                    // ends the utterance
	Lang          string `json:"lang,omitempty"`          // BCP 47; empty: the session's
	Interruptible *bool  `json:"interruptible,omitempty"` // nil: as in Relay
	Preemptible   *bool  `json:"preemptible,omitempty"`   // the next utterance may cut it; nil: no
}

// Play is sound to play from a URL.
type Play struct {
	Source        string `json:"source"`
	Loop          int    `json:"loop,omitempty"`          // times; 0: once
	Interruptible *bool  `json:"interruptible,omitempty"` // nil: as in Relay
}

// Language changes what is spoken or heard from now on; one of the two may be
// empty.
type Language struct {
	TTS           string `json:"ttsLanguage,omitempty"`
	Transcription string `json:"transcriptionLanguage,omitempty"`
}

// End ends the session; Twilio then asks Relay.Action, with HandoffData as it is.
// Text still to be spoken is cut off.
type End struct {
	HandoffData string `json:"handoffData,omitempty"`
}

// AppendText appends t as a frame to dst. Like its siblings it allocates only to
// grow dst, and replaces what is not UTF-8.
func AppendText(dst []byte, t Text) []byte {
	dst = appendString(append(dst, `{"type":"text","token":`...), t.Token)
	dst = strconv.AppendBool(append(dst, `,"last":`...), t.Last)
	if t.Lang != "" {
		dst = appendString(append(dst, `,"lang":`...), t.Lang)
	}
	dst = appendFlag(dst, `,"interruptible":`, t.Interruptible)
	dst = appendFlag(dst, `,"preemptible":`, t.Preemptible)
	return append(dst, '}')
}

// AppendPlay appends p as a frame to dst.
func AppendPlay(dst []byte, p Play) []byte {
	dst = appendString(append(dst, `{"type":"play","source":`...), p.Source)
	// On the wire 0 means a thousand times.
	if p.Loop > 0 {
		dst = strconv.AppendInt(append(dst, `,"loop":`...), int64(p.Loop), 10)
	}
	dst = appendFlag(dst, `,"interruptible":`, p.Interruptible)
	return append(dst, '}')
}

// AppendLanguage appends l as a frame to dst.
func AppendLanguage(dst []byte, l Language) []byte {
	dst = append(dst, `{"type":"language"`...)
	if l.TTS != "" {
		dst = appendString(append(dst, `,"ttsLanguage":`...), l.TTS)
	}
	if l.Transcription != "" {
		dst = appendString(append(dst, `,"transcriptionLanguage":`...), l.Transcription)
	}
	return append(dst, '}')
}

// AppendEnd appends e as a frame to dst.
func AppendEnd(dst []byte, e End) []byte {
	dst = append(dst, `{"type":"end"`...)
	if e.HandoffData != "" {
		dst = appendString(append(dst, `,"handoffData":`...), e.HandoffData)
	}
	return append(dst, '}')
}

func appendFlag(dst []byte, name string, value *bool) []byte {
	if value == nil {
		return dst
	}
	return strconv.AppendBool(append(dst, name...), *value)
}

// appendString appends s as a JSON string.
func appendString(dst []byte, s string) []byte {
	const lowerHex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += size
			continue
		}
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', lowerHex[c>>4], lowerHex[c&15])
		default:
			dst = append(dst, c)
		}
		i++
	}
	return append(dst, '"')
}
