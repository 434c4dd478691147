package twilio_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"neurosphere.ai/neurosphere/internal/twilio"
)

// element is one parsed XML element. The order of attributes means nothing, the
// order of children does.
type element struct {
	Name     string
	Attr     map[string]string
	Text     string
	Children []element
}

func el(name string, attr map[string]string, children ...element) element {
	return element{Name: name, Attr: attr, Children: children}
}

func text(e element, s string) element {
	e.Text = s
	return e
}

type attr = map[string]string

// parse reads the one root element of document and fails on anything an XML
// parser refuses.
func parse(t *testing.T, document []byte) element {
	t.Helper()
	root := element{}
	stack := []*element{&root}
	d := xml.NewDecoder(bytes.NewReader(document))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not XML: %v\n%s", err, document)
		}
		top := stack[len(stack)-1]
		switch token := token.(type) {
		case xml.StartElement:
			child := element{Name: token.Name.Local}
			for _, a := range token.Attr {
				if child.Attr == nil {
					child.Attr = attr{}
				}
				if _, twice := child.Attr[a.Name.Local]; twice {
					t.Fatalf("attribute %s twice: %s", a.Name.Local, document)
				}
				child.Attr[a.Name.Local] = a.Value
			}
			top.Children = append(top.Children, child)
			stack = append(stack, &top.Children[len(top.Children)-1])
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			top.Text += string(token)
		}
	}
	if len(root.Children) != 1 {
		t.Fatalf("%d root elements: %s", len(root.Children), document)
	}
	return root.Children[0]
}

func TestTwiML(t *testing.T) {
	t.Parallel()
	relay := func(more attr) attr {
		all := attr{
			"url": "wss://h.example/twilio/relay", "applicationReconnect": "true", "interruptible": "any",
			"events": "speaker-events tokens-played", "dtmfDetection": "true",
		}
		for k, v := range more {
			all[k] = v
		}
		return all
	}
	tests := map[string]struct {
		got  []byte
		want []element
	}{
		"relay with everything": {
			twilio.Relay{
				URL: "wss://h.example/twilio/relay", Action: "https://h.example/twilio/voice/action?a=1&b=2",
				WelcomeGreeting: `Hi, "Bob" & <Sue>`, WelcomeInterruptible: "speech", Interruptible: "dtmf",
				InterruptSensitivity: "low", IgnoreBackchannel: true,
				Language: "sv-SE", TTSProvider: "Amazon", Voice: "Elin-Neural", TranscriptionProvider: "Google",
				SpeechModel: "long", SpeechTimeout: 900, Hints: []string{"NeuroSphere", "deductible"},
				Languages:         []twilio.RelayLanguage{{Code: "en-US", TTSProvider: "Google", Voice: "en-US-Journey-O", TranscriptionProvider: "Deepgram", SpeechModel: "nova-3-general"}},
				Parameters:        map[string]string{"tenant": "7", "call": "x<y"},
				RecordingCallback: "https://h.example/twilio/recording",
			}.TwiML(),
			[]element{
				el("Start", nil, el("Recording", attr{"channels": "dual", "recordingStatusCallback": "https://h.example/twilio/recording", "recordingStatusCallbackMethod": "POST"})),
				el("Connect", attr{"action": "https://h.example/twilio/voice/action?a=1&b=2", "method": "POST"},
					el("ConversationRelay", relay(attr{
						"welcomeGreeting": `Hi, "Bob" & <Sue>`, "welcomeGreetingInterruptible": "speech", "interruptible": "dtmf",
						"interruptSensitivity": "low", "ignoreBackchannel": "true",
						"language": "sv-SE", "ttsProvider": "Amazon", "voice": "Elin-Neural", "transcriptionProvider": "Google",
						"speechModel": "long", "speechTimeout": "900", "hints": "NeuroSphere,deductible",
					}),
						el("Language", attr{"code": "en-US", "ttsProvider": "Google", "voice": "en-US-Journey-O", "transcriptionProvider": "Deepgram", "speechModel": "nova-3-general"}),
						el("Parameter", attr{"name": "call", "value": "x<y"}),
						el("Parameter", attr{"name": "tenant", "value": "7"}))),
			},
		},
		"relay with nothing chosen": {
			twilio.Relay{URL: "wss://h.example/twilio/relay", Action: "https://h.example/a"}.TwiML(),
			[]element{el("Connect", attr{"action": "https://h.example/a", "method": "POST"}, el("ConversationRelay", relay(nil)))},
		},
		"dial": {
			twilio.Dial{Number: "+15550100", CallerID: "+15550101", Action: "https://h.example/a?x=1&y=2", TimeoutSeconds: 20}.TwiML(),
			[]element{el("Dial", attr{"callerId": "+15550101", "action": "https://h.example/a?x=1&y=2", "method": "POST", "timeout": "20", "answerOnBridge": "true"},
				text(el("Number", nil), "+15550100"))},
		},
		"dial with a word first": {
			twilio.Dial{Say: "One moment.", Language: "en-GB", Number: "+15550100"}.TwiML(),
			[]element{text(el("Say", attr{"language": "en-GB"}), "One moment."), el("Dial", attr{"answerOnBridge": "true"}, text(el("Number", nil), "+15550100"))},
		},
		"voicemail": {
			twilio.Voicemail{Say: "Please leave a message.", Language: "en-US", Action: "https://h.example/a", RecordingCallback: "https://h.example/r", MaxSeconds: 120}.TwiML(),
			[]element{
				text(el("Say", attr{"language": "en-US"}), "Please leave a message."),
				el("Record", attr{"playBeep": "true", "finishOnKey": "#", "maxLength": "120", "action": "https://h.example/a", "method": "POST", "recordingStatusCallback": "https://h.example/r", "recordingStatusCallbackMethod": "POST"}),
				el("Hangup", nil),
			},
		},
		"say and hang up": {
			twilio.SayAndHangup("Fish & chips <3", "en-US"),
			[]element{text(el("Say", attr{"language": "en-US"}), "Fish & chips <3"), el("Hangup", nil)},
		},
		"nothing to say": {twilio.SayAndHangup("\x00", ""), []element{el("Hangup", nil)}},
		"reject":         {twilio.Reject(), []element{el("Reject", attr{"reason": "rejected"})}},
		"hang up":        {twilio.Hangup(), []element{el("Hangup", nil)}},
		"empty":          {twilio.Empty(), nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(el("Response", nil, tt.want...), parse(t, tt.got)); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			if !bytes.HasPrefix(tt.got, []byte(`<?xml version="1.0" encoding="UTF-8"?>`)) {
				t.Errorf("no XML declaration: %s", tt.got)
			}
		})
	}
}

func TestForbiddenCharactersAreDropped(t *testing.T) {
	t.Parallel()
	dirty := "a\x00b\x1bc\u000bd\ufffee\uffff\xff\xed\xa0\x80f\u00e9\U0001F600\tg"
	const want = "abcdef\u00e9\U0001F600\tg"
	said := parse(t, twilio.SayAndHangup(dirty, dirty)).Children[0]
	if said.Text != want {
		t.Errorf("text %q, want %q", said.Text, want)
	}
	connect := parse(t, twilio.Relay{URL: dirty, Action: dirty, WelcomeGreeting: dirty, Parameters: map[string]string{"p": dirty}}.TwiML()).Children[0]
	relay := connect.Children[0]
	for name, got := range map[string]string{
		"language": said.Attr["language"], "action": connect.Attr["action"], "url": relay.Attr["url"],
		"welcomeGreeting": relay.Attr["welcomeGreeting"], "parameter": relay.Children[0].Attr["value"],
	} {
		// A parser may read a tab in an attribute as a space.
		if strings.ReplaceAll(got, " ", "\t") != want {
			t.Errorf("%s %q, want %q", name, got, want)
		}
	}
}
