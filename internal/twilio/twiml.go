package twilio

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twilio/twilio-go/twiml"
)

// ContentType of every TwiML answer.
const ContentType = "text/xml; charset=utf-8"

const post = "POST"

// Relay connects the call to the agent over a ConversationRelay socket. Empty
// fields are left to Twilio's own defaults.
type Relay struct {
	URL    string // of the socket, wss://
	Action string // asked what to do when the session is over

	WelcomeGreeting      string // spoken by Twilio as soon as the socket is open
	WelcomeInterruptible string // "none", "dtmf", "speech" or "any"
	Interruptible        string // same words; empty: "any"
	InterruptSensitivity string // "low", "medium" or "high"
	IgnoreBackchannel    bool   // "uh-huh" does not interrupt

	Language              string // BCP 47, spoken and heard
	TTSProvider           string // "ElevenLabs", "Google" or "Amazon"
	Voice                 string // of that provider
	TranscriptionProvider string // "Deepgram" or "Google"
	SpeechModel           string
	SpeechTimeout         int             // ms of silence that end what a caller says; 0: automatic
	Hints                 []string        // words the transcription should know
	Languages             []RelayLanguage // to change to while talking

	Parameters        map[string]string // come back in the setup frame; no secrets
	RecordingCallback string            // record the call and tell this URL; empty: no recording
}

// RelayLanguage is one language a session may change to.
type RelayLanguage struct {
	Code, TTSProvider, Voice, TranscriptionProvider, SpeechModel string
}

// TwiML is the whole answer.
func (r Relay) TwiML() []byte {
	var inner []twiml.Element
	for _, l := range r.Languages {
		inner = append(inner, &twiml.VoiceLanguage{
			Code: clean(l.Code), TtsProvider: clean(l.TTSProvider), Voice: clean(l.Voice),
			TranscriptionProvider: clean(l.TranscriptionProvider), SpeechModel: clean(l.SpeechModel),
		})
	}
	for _, name := range slices.Sorted(maps.Keys(r.Parameters)) {
		inner = append(inner, &twiml.VoiceParameter{Name: clean(name), Value: clean(r.Parameters[name])})
	}
	relay := &twiml.VoiceConversationRelay{
		Url: clean(r.URL),

		WelcomeGreeting:              clean(r.WelcomeGreeting),
		WelcomeGreetingInterruptible: clean(r.WelcomeInterruptible),
		Interruptible:                orElse(clean(r.Interruptible), "any"),
		InterruptSensitivity:         clean(r.InterruptSensitivity),

		Language:              clean(r.Language),
		TtsProvider:           clean(r.TTSProvider),
		Voice:                 clean(r.Voice),
		TranscriptionProvider: clean(r.TranscriptionProvider),
		SpeechModel:           clean(r.SpeechModel),
		Hints:                 clean(strings.Join(r.Hints, ",")),

		DtmfDetection:      "true",
		Events:             "speaker-events tokens-played",
		OptionalAttributes: r.unmodelled(),
		InnerElements:      inner,
	}
	var verbs []twiml.Element
	if r.RecordingCallback != "" {
		verbs = append(verbs, &twiml.VoiceStart{InnerElements: []twiml.Element{&twiml.VoiceRecording{
			Channels: "dual", RecordingStatusCallback: clean(r.RecordingCallback), RecordingStatusCallbackMethod: post,
		}}})
	}
	return render(append(verbs, &twiml.VoiceConnect{
		Action: clean(r.Action), Method: post, InnerElements: []twiml.Element{relay},
	})...)
}

// unmodelled are the attributes twilio-go does not know, or spells unlike
// Twilio does.
func (r Relay) unmodelled() map[string]string {
	attributes := map[string]string{"applicationReconnect": "true"}
	if r.SpeechTimeout > 0 {
		attributes["speechTimeout"] = strconv.Itoa(r.SpeechTimeout)
	}
	if r.IgnoreBackchannel {
		attributes["ignoreBackchannel"] = "true"
	}
	return attributes
}

// Dial rings a person and, while they have not answered, leaves the caller with
// the ringing tone.
type Dial struct {
	Say, Language  string // told to the caller first; empty: nothing
	Number         string // E.164
	CallerID       string // E.164, a number of the account or of this call
	Action         string // asked what to do afterwards; gets DialCallStatus
	TimeoutSeconds int    // 0: Twilio's 30
}

// TwiML is the whole answer.
func (d Dial) TwiML() []byte {
	dial := &twiml.VoiceDial{
		CallerId: clean(d.CallerID), AnswerOnBridge: "true",
		InnerElements: []twiml.Element{&twiml.VoiceNumber{PhoneNumber: clean(d.Number)}},
	}
	if d.Action != "" {
		dial.Action, dial.Method = clean(d.Action), post
	}
	if d.TimeoutSeconds > 0 {
		dial.Timeout = strconv.Itoa(d.TimeoutSeconds)
	}
	return render(append(say(d.Say, d.Language), dial)...)
}

// Voicemail lets the caller leave a message after a beep, then hangs up.
type Voicemail struct {
	Say, Language     string
	Action            string // told when the caller has finished
	RecordingCallback string // told when the recording can be fetched
	MaxSeconds        int    // 0: Twilio's hour
}

// TwiML is the whole answer.
func (v Voicemail) TwiML() []byte {
	record := &twiml.VoiceRecord{PlayBeep: "true", FinishOnKey: "#"}
	if v.Action != "" {
		record.Action, record.Method = clean(v.Action), post
	}
	if v.RecordingCallback != "" {
		record.RecordingStatusCallback, record.RecordingStatusCallbackMethod = clean(v.RecordingCallback), post
	}
	if v.MaxSeconds > 0 {
		record.MaxLength = strconv.Itoa(v.MaxSeconds)
	}
	// A caller who says nothing falls through <Record> to the next verb.
	return render(append(say(v.Say, v.Language), record, &twiml.VoiceHangup{})...)
}

// SayAndHangup tells the caller text in language (BCP 47; empty: Twilio's
// default) and ends the call.
func SayAndHangup(text, language string) []byte {
	return render(append(say(text, language), &twiml.VoiceHangup{})...)
}

// Reject refuses the call without answering it, so that nobody is charged.
func Reject() []byte { return render(&twiml.VoiceReject{Reason: "rejected"}) }

// Hangup ends the call.
func Hangup() []byte { return render(&twiml.VoiceHangup{}) }

// Empty asks nothing: the answer to a text or a callback. A call it is given to
// ends.
func Empty() []byte { return render() }

func say(text, language string) []twiml.Element {
	if text = clean(text); text == "" {
		return nil
	}
	return []twiml.Element{&twiml.VoiceSay{Message: text, Language: clean(language)}}
}

func render(verbs ...twiml.Element) []byte {
	document, response := twiml.CreateDocument()
	twiml.AddAllVerbs(response, verbs)
	text, err := twiml.ToXML(document)
	if err != nil {
		// A document in memory is always written; should it not be, the call
		// ends as with Empty instead of with Twilio's error message.
		return []byte(`<?xml version="1.0" encoding="UTF-8"?><Response/>`)
	}
	return []byte(text)
}

// clean drops what no XML document may hold, escaped or not; one such character
// would make Twilio refuse the whole answer.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			return r
		case r < ' ' || r == utf8.RuneError || r == 0xFFFE || r == 0xFFFF:
			return -1
		}
		return r
	}, s)
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
