package profile

import (
	"strings"

	"neurosphere.ai/neurosphere/events"
)

// Words that show how a caller talks. They are counted, not understood.
var styleWords = map[string][]string{
	"formal":    {"please", "thank", "would", "could", "sir", "madam", "appreciate", "kindly", "regarding"},
	"casual":    {"yeah", "yep", "hey", "gonna", "wanna", "kinda", "ok", "okay", "cool", "nah", "stuff"},
	"direct":    {"need", "want", "now", "just", "cancel", "give", "tell", "send", "stop"},
	"hedged":    {"maybe", "perhaps", "possibly", "might", "wondering", "guess", "think", "probably", "sort"},
	"technical": {"deductible", "premium", "coverage", "liability", "escrow", "appraisal", "endorsement", "underwriting", "vin", "mls", "policy", "claim", "mortgage"},
	"annoyed":   {"ridiculous", "unacceptable", "frustrated", "frustrating", "angry", "terrible", "awful", "worst", "again", "still", "complaint", "annoyed", "upset"},
	"pleased":   {"great", "thanks", "thank", "perfect", "wonderful", "awesome", "excellent", "good", "love", "appreciate", "helpful"},
	"urgent":    {"urgent", "asap", "immediately", "emergency", "today", "tonight", "hurry", "quickly", "deadline"},
	"waiting":   {"hurry", "quick", "faster", "waiting", "long"},
}

// Measures are the traits of how a caller talked in one call, each 0 to 100 in
// micros, made of whole numbers so that sums are exact. A call of fewer than
// three turns shows too little: no measures.
func Measures(turns []Turn) []events.Measure {
	counts := map[string]int64{}
	var words, said, questions int64
	for _, t := range turns {
		if t.Role != events.RoleCaller {
			continue
		}
		said++
		questions += int64(strings.Count(t.Text, "?"))
		for _, w := range strings.Fields(fold(t.Text)) {
			words++
			for class, list := range styleWords {
				for _, s := range list {
					if s == w {
						counts[class]++
					}
				}
			}
		}
	}
	if said < 3 || words == 0 {
		return []events.Measure{}
	}
	// lean is 50, moved by what speaks for and against, per turn.
	lean := func(pro, con int64) int64 { return clamp(50e6 + (pro-con)*40e6/said) }
	// level is 0, raised by what speaks for, per turn.
	level := func(pro int64) int64 { return clamp(pro * 80e6 / said) }
	return []events.Measure{
		{Metric: "formality", Micros: lean(counts["formal"], counts["casual"])},
		{Metric: "directness", Micros: lean(counts["direct"], counts["hedged"])},
		{Metric: "detail_orientation", Micros: clamp(words * 4e6 / said)},
		{Metric: "patience", Micros: clamp(70e6 - counts["waiting"]*60e6/said - counts["annoyed"]*30e6/said)},
		{Metric: "technical_comfort", Micros: clamp(20e6 + counts["technical"]*80e6/said)},
		{Metric: "curiosity", Micros: clamp(questions * 60e6 / said)},
		{Metric: "frustration_level", Micros: level(counts["annoyed"])},
		{Metric: "satisfaction_level", Micros: lean(counts["pleased"], counts["annoyed"])},
		{Metric: "urgency_level", Micros: level(counts["urgent"])},
	}
}

func clamp(v int64) int64 { return min(max(v, 0), 100e6) }
