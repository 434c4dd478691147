package mask_test

import (
	"errors"
	"strings"
	"testing"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/mask"
)

// said is a turn: of the agent, with ">" before it, of the caller's keys, with
// "#", or of the caller.
type said struct{ text, want string }

func converse(t *testing.T, turns []said) {
	t.Helper()
	c := mask.New()
	for _, s := range turns {
		if q, ok := strings.CutPrefix(s.text, ">"); ok {
			c.Agent(q)
			continue
		}
		text, keys := strings.CutPrefix(s.text, "#")
		if got := c.Caller(text, keys).Text; got != s.want {
			t.Errorf("%q is written down as %q, want %q", text, got, s.want)
		}
	}
}

func agent(text string) said { return said{">" + text, ""} }

func same(text string) said { return said{text, strings.TrimPrefix(text, "#")} }

func TestNumberWords(t *testing.T) {
	for name, turns := range map[string][]said{
		"digits":     {{"My social is four one one, two two, three three three three.", "My social is [SSN]."}},
		"one by one": {agent("What is your card number?"), {"four one one one one one one one one one one one one one one one", "[CARD]"}},
		"double":     {agent("What are the last four of your social?"), {"double five oh nine", "[SSN]"}},
		"triple":     {{"The card number is four triple one, four triple one, four triple one, four triple one.", "The card number is [CARD]."}},
		"tens":       {agent("Your PIN, please?"), {"It's forty two eleven.", "It's [PIN]."}},
		"tens and units": {
			{"My account number is twenty-one thirty four fifty five.", "My account number is [ACCOUNT]."},
		},
		"thousands": {agent("Your PIN?"), {"four thousand one hundred eleven", "[PIN]"}},
		"hundreds": {
			{"My social is four hundred fifty six seventy seven eighty nine twelve.", "My social is [SSN]."},
			{"The card number is four thousand one hundred eleven eleven eleven eleven eleven eleven eleven.", "The card number is [CARD]."},
			same("My savings account has twelve thousand five hundred in it."),
		},
		"with then":         {{"My social is 4 5 6, then 7 7, then 8 9 1 2.", "My social is [SSN], then [SSN], then [SSN]."}},
		"mixed with digits": {{"My social security number is 123 forty five 6789, okay?", "My social security number is [SSN], okay?"}},
		"with fillers":      {{"card number four one one one uh four one one one um four one one one four one one one", "card number [CARD]"}},
		"not named":         {{"four one one one four one one one four one one one four one one one", "[CARD]"}},
		"words that only count": {
			agent("What are the last four digits of your social?"),
			same("One moment, I have two kids in the car."),
			{"Oh, sorry. Nine nine one two.", "Oh, sorry. [SSN]."},
		},
		"a year in words":   {same("I bought it in twenty fifteen.")},
		"a phone in words":  {same("My phone number is two oh six, five five five, oh one four two.")},
		"an amount":         {same("It cost me twelve hundred dollars, one hundred for each of us.")},
		"one or two":        {same("There are one or two things, three at most.")},
		"a number in Hindi": {agent("What is your card number?"), {"४१११ ११११ ११११ ११११", "[CARD]"}},
	} {
		t.Run(name, func(t *testing.T) { converse(t, turns) })
	}
}

func TestDigitsSpreadOverTurns(t *testing.T) {
	for name, turns := range map[string][]said{
		"with the agent going along": {
			agent("Could you read me the card number?"),
			{"Sure, it's 4111.", "Sure, it's [CARD]."},
			agent("Go ahead."),
			{"1111", "[CARD]"},
			agent("Okay."),
			{"eleven eleven", "[CARD]"},
			agent("Mm-hm, and the rest?"),
			{"20 18", "[CARD]"},
			agent("Thank you. What year is your car?"),
			same("2018"),
		},
		"with nobody between": {
			agent("What is your social?"),
			{"123", "[SSN]"},
			{"forty five", "[SSN]"},
			{"6789", "[SSN]"},
			agent("And in which year did you buy the house?"), same("2004"),
		},
		"announced by the caller": {
			same("Okay, my credit card number is"), {"411111", "[CARD]"}, {"1111", "[CARD]"}, {"111111", "[CARD]"},
		},
		"begun by the caller": {
			{"My social is 123", "My social is [SSN]"}, agent("Go on."), {"45", "[SSN]"}, {"6789", "[SSN]"},
		},
		"after being asked to repeat": {
			agent("What is your account number?"),
			{"77 31", "[ACCOUNT]"},
			agent("Sorry, could you repeat the last four digits?"),
			{"7 7 3 1", "[ACCOUNT]"},
		},
		"bit by bit, of what nobody named": {
			same("541"), agent("Yes?"), same("226"), agent("Okay."), {"98", "[NUMBER]"}, agent("Go on."), {"71", "[NUMBER]"},
		},
		"a phone over turns": {
			agent("What number can we call you back at?"), same("206"), agent("Okay."), same("555"), agent("Go ahead."), same("0142"),
		},
	} {
		t.Run(name, func(t *testing.T) { converse(t, turns) })
	}
}

func TestWhatIsAskedSaysWhatItIs(t *testing.T) {
	for name, turns := range map[string][]said{
		"social":        {agent("Can I have the last four of your social?"), {"2004", "[SSN]"}},
		"card":          {agent("And the number on the front of the card?"), {"5105 1051 0510 5100", "[CARD]"}},
		"security code": {agent("What's the security code on the back?"), {"it's 123", "it's [CVV]"}},
		"expiry":        {agent("When does the card expire?"), {"08/27", "[EXPIRY]"}},
		"expiry, said":  {agent("And the card's expiration date?"), {"oh eight twenty seven", "[EXPIRY]"}},
		"on the back":   {agent("When does the card expire?"), {"oh nine twenty eight", "[EXPIRY]"}, agent("And the three digits on the back?"), {"seven two one", "[CVV]"}},
		"last three":    {agent("And the last three on the back?"), {"721", "[CVV]"}},
		"its number":    {agent("What is the security number on the back?"), {"It's 721.", "It's [CVV]."}},
		"a year beside": {agent("What is your account number?"), same("I don't have it, but I bought the house in 2004."), agent("No problem."), {"Here, 0012345678.", "Here, [ACCOUNT]."}},
		"code":          {agent("And the three digit code on the back?"), {"three one oh", "[CVV]"}},
		"month, year":   {agent("When does the card expire?"), {"August twenty twenty-seven", "August [EXPIRY]"}},
		"phone and all": {agent("A good callback number, and the last four of your social?"), {"206 555 0142 and 1120", "206 555 0142 and [SSN]"}},
		"birthday too":  {agent("Your date of birth and social?"), {"04/12/1980 and 078-05-1120", "04/12/1980 and [SSN]"}},
		"account":       {agent("What is your account number?"), {"Yes, 10 09 98.", "Yes, [ACCOUNT]."}},
		"PIN":           {agent("Please enter your PIN."), {"#4821", "[PIN]"}},
		"two at once":   {agent("Your account number and PIN, please?"), {"85731890 and 3941", "[ACCOUNT] and [PIN]"}},
		"later":         {agent("What is your social?"), same("Why do you need that?"), agent("To find your file."), {"Fine. 8812", "Fine. [SSN]"}},
		"not the agent's echo": {
			agent("I see, so your card was declined at the gas pump on Saturday."), same("Yes, at pump 12."),
		},
		"a phone":           {agent("What is the phone number on your account?"), same("206 555 0142")},
		"its last digits":   {agent("What are the last four digits of your phone number?"), same("0142")},
		"a zip":             {agent("What is the zip code on the card?"), same("98101")},
		"a policy":          {agent("What is your policy number?"), same("PVX 752198306")},
		"a year":            {agent("What year is the car?"), same("2014")},
		"a mileage":         {agent("How many miles are on it?"), same("81250")},
		"a birthday":        {agent("What is your date of birth?"), same("04/04/1990")},
		"an amount":         {agent("How much would you like to transfer?"), same("4525")},
		"a card, for phone": {agent("What is your phone number?"), {"4111 1111 1111 1111", "[CARD]"}},
	} {
		t.Run(name, func(t *testing.T) { converse(t, turns) })
	}
}

func TestWhatCallersName(t *testing.T) {
	for _, s := range []said{
		{"My social is 123-45-6789.", "My social is [SSN]."},
		{"123-45-6789", "[SSN]"},
		{"It's 123 45 6789 for the social.", "It's [SSN] for the social."},
		{"4712 is my PIN", "[PIN] is my PIN"},
		{"card 5105105105105100 expires 08/27 and the cvv is 310", "card [CARD] expires [EXPIRY] and the cvv is [CVV]"},
		{"ssn 4471 and card number 9002", "ssn [SSN] and card number [CARD]"},
		{"the last four digits are 7731", "the last four digits are [NUMBER]"},
		{"my visa ends in 4242", "my visa ends in [CARD]"},
		{"move 300 dollars from 4471 to 9002", "move 300 dollars from [ACCOUNT] to [ACCOUNT]"},
		{"my account is AB123456789", "my account is [ACCOUNT]"},
		{"Mi tarjeta es 4111 1111 1111 1111.", "Mi tarjeta es [CARD]."},
		{"my social's 078 05 1120", "my social's [SSN]"},
		{"$4111111111111111", "$[CARD]"},
		{"4111/1111/1111/1111", "[NUMBER]/[NUMBER]/[NUMBER]/[NUMBER]"},
		{"4111.1111.1111.1111", "[CARD]"},
		{"4111,1111,1111,1111", "[CARD]"},
		{"about my claim, the card4111111111111111", "about my claim, the [CARD]"},
		same("The loan is for 350000, over 30 years."),
		same("That makes four thousand five hundred, or $1,234,567.89."),
		same("The MLS number is 2145567."),
		same("five oh three, five five five, one two one two"),
		same("My policy number is HL-448210."),
		same("The claim number is 552 91 8830."),
		same("Please call me at (206) 555-0142."),
		same("You can reach me on 2065550142."),
		same("+44 20 7946 0018"),
		same("We were in the house at 4521 Larch Street, 98101."),
		same("I drive a 2021 Subaru Outback with 14000 miles."),
		same("It was on 06/12/2018 at 3:30, or on June 12, 2018."),
		same("06122018"),
		same("My budget is 4312."),
		same("I paid $1,250.00 and then 1300 more."),
		same("ann 4521 gmailcom"),
		same("ann4521@example.com"),
		same("Flight 1432, and room 1204."),
		same("Interest went from 1500 to 2000."),
		same("My policy expires in 2026."),
		same("The VIN is 1HGCM82633A004352."),
		same("1HGCM82633A004352"),
		same("I was number 12 in the line for 45 minutes."),
		same(""),
	} {
		converse(t, []said{s})
	}
}

func TestKeys(t *testing.T) {
	for name, turns := range map[string][]said{
		"a card that was asked for": {agent("Please enter your card number."), {"#4111111111111111", "[CARD]"}, {"#0827", "[CARD]"}},
		"a PIN in two goes":         {agent("Key in your PIN."), {"#48", "[PIN]"}, {"#21", "[PIN]"}},
		"a choice":                  {agent("Press 1 for sales or 2 for service."), {"#1", "1"}},
		"unprompted and long":       {{"#5512097", "[NUMBER]"}},
		"an extension":              {same("#1200")},
		"a phone":                   {agent("Please enter your phone number."), {"#2065550142", "2065550142"}},
	} {
		t.Run(name, func(t *testing.T) { converse(t, turns) })
	}
}

func TestWhatLooksAlikeIsKeptBeside(t *testing.T) {
	c := mask.New()
	c.Caller("I want to know about my claim.", false)
	m := c.Caller("sure, it's pvx 752198306", false)
	if m.Text != "sure, it's [POLICY]" || len(m.Found) != 1 || m.Found[0] != (mask.Found{Mark: "[POLICY]", Kind: "policy", Value: "pvx 752198306"}) {
		t.Errorf("found %+v", m)
	}
	m = c.Caller("and my social is 4471, the card 4111111111111111", false)
	for _, f := range m.Found {
		if f.Value != "" {
			t.Errorf("%s is kept", f.Kind)
		}
	}
	if len(m.Found) != 2 {
		t.Errorf("found %+v", m)
	}
}

func TestLongTurnsAreCut(t *testing.T) {
	c := mask.New()
	m := c.Caller(strings.Repeat("so ", 6000)+"my social is 123-45-6789", false)
	if len(m.Text) > 16<<10 || strings.Contains(m.Text, "6789") {
		t.Errorf("%d bytes are kept", len(m.Text))
	}
	if m = c.Caller("bad \xff bytes 123-45-6789", false); m.Text != "bad \uFFFD bytes [SSN]" {
		t.Errorf("%q", m.Text)
	}
}

func TestWhatCannotBeLookedAtIsWithheld(t *testing.T) {
	var broken *mask.Conversation
	if m := broken.Caller("my social is 123-45-6789", false); m.Text != mask.Withheld || m.Found != nil {
		t.Errorf("%+v", m)
	}
}

func TestOnlyMarks(t *testing.T) {
	for text, want := range map[string]bool{"[POLICY]": true, " [CARD], [SSN].": true, "": false, "[POLICY] of Ann": false, "POLICY": false, "[policy]": false} {
		if got := mask.OnlyMarks(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestSealed(t *testing.T) {
	m := mask.Masked{Found: []mask.Found{{Mark: "[CARD]", Kind: "card"}, {Mark: "[POLICY]", Kind: "policy", Value: "x"}, {Mark: "[CLAIM]", Kind: "claim", Value: "y"}}}
	got, err := m.Sealed(func(text string) ([]byte, error) {
		if text == "y" {
			return nil, errors.New("no key")
		}
		return []byte(text + text), nil
	})
	if err == nil || len(got) != 1 || got[0] != (events.Sealed{Mark: "[POLICY]", Kind: "policy", Value: "eHg="}) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := m.Sealed(nil); err != nil || got != nil {
		t.Errorf("without a key: %+v, %v", got, err)
	}
}
