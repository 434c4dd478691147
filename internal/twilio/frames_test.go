package twilio_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"neurosphere.ai/neurosphere/internal/twilio"
)

const (
	callSID    = "CA0123456789abcdef0123456789ABCDEF"
	accountSID = "AC0123456789abcdef0123456789abcdef"
	sessionSID = "VX0123456789abcdef0123456789abcdef"
)

func TestFramesAreRead(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		frame string
		want  twilio.Frame
	}{
		"setup": {
			`{"type":"setup","sessionId":"` + sessionSID + `","accountSid":"` + accountSID + `","parentCallSid":"","callSid":"` + callSID + `","from":"+18005550100","to":"+18005550101","forwardedFrom":"+18005550102","callType":"PSTN","callerName":"","direction":"inbound","callStatus":"RINGING","customParameters":{"callRef":"opaque"}}`,
			twilio.Setup{
				SessionID: sessionSID, AccountSID: accountSID, CallSID: callSID, From: "+18005550100", To: "+18005550101",
				ForwardedFrom: "+18005550102", CallType: "PSTN", Direction: "inbound", CallStatus: "ringing",
				Parameters: map[string]string{"callRef": "opaque"},
			},
		},
		"setup with nulls and numbers": {
			`{"type":"setup","callSid":"` + callSID + `","callerName":null,"customParameters":{"a":1,"b":null,"c":true,"d":{}},"new":[1]}`,
			twilio.Setup{CallSID: callSID, From: twilio.Withheld, Parameters: map[string]string{"a": "1", "b": "", "c": "true", "d": ""}},
		},
		"setup with odd parameters":  {`{"type":"setup","callSid":"` + callSID + `","customParameters":"none"}`, twilio.Setup{CallSID: callSID, From: twilio.Withheld}},
		"setup of a number withheld": {`{"type":"setup","callSid":"` + callSID + `","from":"+266696687"}`, twilio.Setup{CallSID: callSID, From: twilio.Withheld}},
		"setup that is far too long": {
			`{"type":"setup","callSid":"` + callSID + `","from":"+1","sessionId":"` + strings.Repeat("é", 300) + `"}`,
			twilio.Setup{CallSID: callSID, From: "+1", SessionID: strings.Repeat("é", 32)},
		},
		"language that is far too long":   {`{"type":"prompt","voicePrompt":"Hi","lang":"` + strings.Repeat("e", 300) + `"}`, twilio.Prompt{Text: "Hi", Lang: strings.Repeat("e", 64), Last: true}},
		"prompt":                          {`{"type":"prompt","voicePrompt":"Hi! Can you \u00e9?","lang":"en-US","last":true}`, twilio.Prompt{Text: "Hi! Can you é?", Lang: "en-US", Last: true}},
		"partial prompt":                  {`{"type":"prompt","voicePrompt":"Hi","last":false}`, twilio.Prompt{Text: "Hi"}},
		"partial prompt in words":         {`{"type":"prompt","voicePrompt":"Hi","last":"false"}`, twilio.Prompt{Text: "Hi"}},
		"prompt that says nothing of end": {`{"type":"prompt","voicePrompt":"Hi","agentSpeaking":"true"}`, twilio.Prompt{Text: "Hi", Last: true}},
		"prompt no database holds":        {`{"type":"prompt","voicePrompt":"H\u0000i","last":true}`, twilio.Prompt{Text: "Hi", Last: true}},
		"key":                             {`{"type":"dtmf","digit":"#"}`, twilio.DTMF{Digit: "#"}},
		"key as number":                   {`{"type":"dtmf","digit":1}`, twilio.DTMF{Digit: "1"}},
		"interrupt":                       {`{"type":"interrupt","utteranceUntilInterrupt":"Life is","durationUntilInterruptMs":460}`, twilio.Interrupt{Heard: "Life is", After: 460 * time.Millisecond}},
		"interrupt, duration as string":   {`{"type":"interrupt","utteranceUntilInterrupt":"Life is","durationUntilInterruptMs":"460"}`, twilio.Interrupt{Heard: "Life is", After: 460 * time.Millisecond}},
		"interrupt, decimal":              {`{"type":"interrupt","utteranceUntilInterrupt":"Life is","durationUntilInterruptMs":460.5}`, twilio.Interrupt{Heard: "Life is", After: 460500 * time.Microsecond}},
		"interrupt, decimal string":       {`{"type":"interrupt","durationUntilInterruptMs":"1.25"}`, twilio.Interrupt{After: 1250 * time.Microsecond}},
		"interrupt, not a number":         {`{"type":"interrupt","utteranceUntilInterrupt":"Life","durationUntilInterruptMs":"NaN"}`, twilio.Interrupt{Heard: "Life"}},
		"interrupt, below zero":           {`{"type":"interrupt","durationUntilInterruptMs":-1}`, twilio.Interrupt{}},
		"interrupt, too large":            {`{"type":"interrupt","durationUntilInterruptMs":1e300}`, twilio.Interrupt{After: 24 * time.Hour}},
		"interrupt, infinite":             {`{"type":"interrupt","durationUntilInterruptMs":1e999}`, twilio.Interrupt{}},
		"interrupt, an object":            {`{"type":"interrupt","utteranceUntilInterrupt":{"a":1},"durationUntilInterruptMs":[]}`, twilio.Interrupt{}},
		"error":                           {`{"type":"error","description":"Invalid message received: { \"foo\" : \"bar\" }"}`, twilio.ErrorFrame{Description: `Invalid message received: { "foo" : "bar" }`}},
		"info":                            {`{"type":"info","name":"agentSpeaking","value":"on","ts":1752091234567}`, twilio.Info{Name: "agentSpeaking", Value: "on", At: time.Date(2025, 7, 9, 20, 0, 34, 567e6, time.UTC)}},
		"info without time":               {`{"type":"info","name":"tokensPlayed","value":"Hi, this is Jace,"}`, twilio.Info{Name: "tokensPlayed", Value: "Hi, this is Jace,"}},
		"info of another kind":            {`{"type":"info","name":"x","value":true,"ts":"1752091234567"}`, twilio.Info{Name: "x", Value: "true", At: time.Date(2025, 7, 9, 20, 0, 34, 567e6, time.UTC)}},
		"info long after":                 {`{"type":"info","name":"x","ts":1e30}`, twilio.Info{Name: "x"}},
		"unknown":                         {`{"type":"configUpdated","value":{"a":[1]},"last":{}}`, twilio.Unknown{Type: "configUpdated"}},
		"unknown with a long name":        {`{"type":"` + strings.Repeat("é", 50) + `"}`, twilio.Unknown{Type: strings.Repeat("é", 32)}},
		"unknown that splits a letter":    {`{"type":"x` + strings.Repeat("é", 50) + `"}`, twilio.Unknown{Type: "x" + strings.Repeat("é", 31)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := twilio.ParseFrame([]byte(tt.frame))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestFramesAreRefused(t *testing.T) {
	t.Parallel()
	prompt := func(size int) string {
		head, tail := `{"type":"prompt","voicePrompt":"`, `"}`
		return head + strings.Repeat("a", size-len(head)-len(tail)) + tail
	}
	if _, err := twilio.ParseFrame([]byte(prompt(twilio.MaxFrame))); err != nil {
		t.Errorf("largest frame: %v", err)
	}
	for name, frame := range map[string]string{
		"too large":             prompt(twilio.MaxFrame + 1),
		"not utf-8":             "{\"type\":\"prompt\",\"voicePrompt\":\"\xff\"}",
		"empty":                 "",
		"cut off":               `{"type":"prompt"`,
		"followed by more":      `{"type":"prompt"}{}`,
		"array":                 `[{"type":"prompt"}]`,
		"string":                `"prompt"`,
		"null":                  `null`,
		"no type":               `{"voicePrompt":"Hi"}`,
		"empty type":            `{"type":""}`,
		"type is a number":      `{"type":5}`,
		"type is null":          `{"type":null}`,
		"setup without call":    `{"type":"setup"}`,
		"setup with a bad call": `{"type":"setup","callSid":"CA0.>*"}`,
		"setup for another sid": `{"type":"setup","callSid":"` + accountSID + `"}`,
		"setup with a long sid": `{"type":"setup","callSid":"` + callSID + `0"}`,
		"setup, not hex":        `{"type":"setup","callSid":"` + strings.Replace(callSID, "0", "g", 1) + `"}`,
		"words where json goes": `Hi there secret`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := twilio.ParseFrame([]byte(frame))
			if err == nil {
				t.Fatalf("read as %#v", got)
			}
			if strings.Contains(err.Error(), "Hi") || strings.Contains(err.Error(), "secret") {
				t.Errorf("the error quotes the frame: %v", err)
			}
		})
	}
}

// sent is a frame of ours as Twilio's decoder would see it.
type sent struct {
	Type          string  `json:"type"`
	Token         *string `json:"token"`
	Last          *bool   `json:"last"`
	Lang          *string `json:"lang"`
	Interruptible *bool   `json:"interruptible"`
	Preemptible   *bool   `json:"preemptible"`
	Source        *string `json:"source"`
	Loop          *int    `json:"loop"`
	TTS           *string `json:"ttsLanguage"`
	Transcription *string `json:"transcriptionLanguage"`
	HandoffData   *string `json:"handoffData"`
}

func TestFramesAreWritten(t *testing.T) {
	t.Parallel()
	const awkward = "He said \"no\" \\ <&>\n\t\x00\x1f\u2028\u007f é 👍"
	tests := map[string]struct {
		frame []byte
		want  sent
	}{
		"token":            {twilio.AppendText(nil, twilio.Text{Token: "Hello "}), sent{Type: "text", Token: new("Hello "), Last: new(false)}},
		"end of utterance": {twilio.AppendText(nil, twilio.Text{Last: true}), sent{Type: "text", Token: new(""), Last: new(true)}},
		"awkward token":    {twilio.AppendText(nil, twilio.Text{Token: awkward}), sent{Type: "text", Token: new(awkward), Last: new(false)}},
		"not utf-8":        {twilio.AppendText(nil, twilio.Text{Token: "a\xff\xc3"}), sent{Type: "text", Token: new("a\ufffd\ufffd"), Last: new(false)}},
		"everything": {
			twilio.AppendText(nil, twilio.Text{Token: "Hej", Last: true, Lang: "sv-SE", Interruptible: new(false), Preemptible: new(true)}),
			sent{Type: "text", Token: new("Hej"), Last: new(true), Lang: new("sv-SE"), Interruptible: new(false), Preemptible: new(true)},
		},
		"play once":          {twilio.AppendPlay(nil, twilio.Play{Source: "https://h.example/a.mp3?x=1&y=2"}), sent{Type: "play", Source: new("https://h.example/a.mp3?x=1&y=2")}},
		"play often":         {twilio.AppendPlay(nil, twilio.Play{Source: "https://h.example/a.mp3", Loop: 3, Interruptible: new(true)}), sent{Type: "play", Source: new("https://h.example/a.mp3"), Loop: new(3), Interruptible: new(true)}},
		"language":           {twilio.AppendLanguage(nil, twilio.Language{TTS: "sv-SE", Transcription: "en-US"}), sent{Type: "language", TTS: new("sv-SE"), Transcription: new("en-US")}},
		"language heard":     {twilio.AppendLanguage(nil, twilio.Language{Transcription: "en-US"}), sent{Type: "language", Transcription: new("en-US")}},
		"end":                {twilio.AppendEnd(nil, twilio.End{}), sent{Type: "end"}},
		"end with hand-over": {twilio.AppendEnd(nil, twilio.End{HandoffData: `{"to":"sales"}`}), sent{Type: "end", HandoffData: new(`{"to":"sales"}`)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got sent
			if err := json.Unmarshal(tt.frame, &got); err != nil {
				t.Fatalf("%v: %s", err, tt.frame)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestWritingAllocatesNothing(t *testing.T) {
	buffer := make([]byte, 0, 1024)
	yes := new(true)
	allocations := testing.AllocsPerRun(100, func() {
		buffer = twilio.AppendText(buffer[:0], twilio.Text{Token: "Hello \"wörld\"\n", Last: true, Lang: "en-US", Interruptible: yes})
		buffer = twilio.AppendEnd(buffer, twilio.End{HandoffData: `{"to":"sales"}`})
	})
	if allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}

// FuzzFrame feeds arbitrary frames to the reader, which must not panic and must
// only succeed on JSON objects, and arbitrary words to the writer, which must
// write what encoding/json reads back.
func FuzzFrame(f *testing.F) {
	f.Add([]byte(`{"type":"setup","callSid":"`+callSID+`","customParameters":{"a":"b"}}`), "Hello")
	f.Add([]byte(`{"type":"interrupt","utteranceUntilInterrupt":"a","durationUntilInterruptMs":"4.5"}`), "a\xffb\"\\\n")
	f.Add([]byte(`{"type":"info","name":"x","value":{},"ts":-1e999}`), "")
	f.Add([]byte(`[null]`), "\u2028")
	f.Fuzz(func(t *testing.T, data []byte, words string) {
		frame, err := twilio.ParseFrame(data)
		if (frame == nil) == (err == nil) {
			t.Fatalf("frame %v with error %v", frame, err)
		}
		var object map[string]json.RawMessage
		if err == nil && json.Unmarshal(data, &object) != nil {
			t.Fatalf("read %q, which is no object", data)
		}
		checkFrame(t, frame)
		var got sent
		if err := json.Unmarshal(twilio.AppendText(nil, twilio.Text{Token: words, Lang: words}), &got); err != nil {
			t.Fatal(err)
		}
		want := string([]rune(words)) // every byte that is not UTF-8 replaced
		if *got.Token != want || words != "" && *got.Lang != want {
			t.Fatalf("wrote %q as %q", words, *got.Token)
		}
	})
}

// checkFrame fails on what no frame may hold, whatever was received.
func checkFrame(t *testing.T, frame twilio.Frame) {
	t.Helper()
	switch frame := frame.(type) {
	case twilio.Setup:
		if !twilio.ValidSID("CA", frame.CallSID) {
			t.Fatalf("setup for %q", frame.CallSID)
		}
	case twilio.Interrupt:
		if frame.After < 0 || frame.After > 24*time.Hour {
			t.Fatalf("interrupted after %v", frame.After)
		}
	case twilio.Info:
		if _, err := frame.At.MarshalJSON(); err != nil {
			t.Fatal(err)
		}
	case twilio.Unknown:
		if frame.Type == "" || len(frame.Type) > 64 {
			t.Fatalf("unknown type %q", frame.Type)
		}
	}
}
