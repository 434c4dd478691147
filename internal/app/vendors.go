package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/internal/simulated"
)

// SimulatedAccount is the Twilio account that a data directory simulates.
type SimulatedAccount struct {
	AccountSID string `json:"account_sid"`
	AuthToken  string `json:"auth_token"`
}

// Simulated reads the simulated account of a data directory, and makes one
// where there is none, so that a caller simulated by another process signs
// what this one accepts.
func Simulated(dataDir string) (SimulatedAccount, error) {
	path := filepath.Join(dataDir, "simulated-twilio.json")
	var a SimulatedAccount
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, &a)
		return a, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	a = SimulatedAccount{AccountSID: "AC" + random(16), AuthToken: random(16)}
	if raw, err = json.Marshal(a); err != nil { //nolint:gosec // this file is where the simulated secret is kept
		return a, err
	}
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return a, err
	}
	// Linked into place whole: of two processes that start together one wins
	// and both read the same account.
	tmp := path + "." + random(4)
	if err := os.WriteFile(tmp, raw, 0o600); err != nil {
		return a, err
	}
	defer os.Remove(tmp)
	if err := os.Link(tmp, path); errors.Is(err, fs.ErrExist) {
		return Simulated(dataDir)
	} else if err != nil {
		return a, err
	}
	return a, nil
}

func random(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// ForgetTexts has the stand-in for Twilio of this directory, if there was one,
// forget texts it had accepted, by their ids.
func ForgetTexts(c Config, sids []string) error {
	if _, err := simulated.ForgetTexts(filepath.Join(c.DataDir, "simulated"), sids); err != nil {
		return fmt.Errorf("erase from the simulated Twilio: %w", err)
	}
	return nil
}

// openVendors puts a simulated vendor wherever no real one is configured.
func openVendors(_ context.Context, _ Options, p *Platform) (func(), error) {
	var stops []func()
	stop := func() {
		for _, s := range stops {
			s()
		}
	}
	c := &p.Config
	if c.simulatedTwilio() {
		acct, err := Simulated(c.DataDir)
		if err != nil {
			return stop, fmt.Errorf("simulate twilio: %w", err)
		}
		t, err := simulated.StartTwilio(simulated.TwilioOptions{
			AccountSID: acct.AccountSID, AuthToken: acct.AuthToken, Dir: filepath.Join(c.DataDir, "simulated"),
		})
		if err != nil {
			return stop, fmt.Errorf("simulate twilio: %w", err)
		}
		stops = append(stops, func() { _ = t.Close() })
		c.TwilioAccountSID, c.TwilioAuthToken, c.TwilioAPIURL = acct.AccountSID, acct.AuthToken, t.URL()
		p.Log.Info("simulated twilio: no TWILIO_AUTH_TOKEN", zap.String("url", t.URL()))
	}
	if c.simulatedOpenAI() {
		o, err := simulated.StartOpenAI(simulated.OpenAIOptions{})
		if err != nil {
			return stop, fmt.Errorf("simulate openai: %w", err)
		}
		stops = append(stops, func() { _ = o.Close() })
		c.OpenAIKey, c.OpenAIBaseURL = "simulated", o.URL()
		p.Log.Info("simulated openai: no OPENAI_API_KEY", zap.String("url", o.URL()))
	}
	return stop, nil
}
