package profile

import (
	"strings"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
)

var templateFields = []events.Field{
	{Path: "personal.name", Type: "text"},
	{Path: "personal.phone", Type: "phone"},
	{Path: "personal.email", Type: "email"},
	{Path: "personal.address", Type: "text"},
	{Path: "personal.birth_date", Type: "date"},
	{Path: "policies.auto_1.year", Type: "int"},
	{Path: "policies.auto_1.make", Type: "text"},
	{Path: "policies.auto_1.model", Type: "text"},
	{Path: "policies.auto_1.vin", Type: "text"},
	{Path: "policies.home.coverage_amount", Type: "number"},
	{Path: "policies.life.beneficiary", Type: "text"},
	{Path: "family.spouse_name", Type: "text"},
	{Path: "family.children", Type: "array[text]"},
	{Path: "family.birthdays", Type: "array[date]"},
	{Path: "status.buyer_or_seller", Type: "enum", Values: []string{"buyer", "seller", "both"}},
	{Path: "properties.property_1.status", Type: "enum[active,sold,pending]"},
	{Path: "properties.property_1.bedrooms", Type: "int"},
	{Path: "properties.property_1.bathrooms", Type: "float"},
	{Path: "properties.property_1.asking_price", Type: "number"},
	{Path: "properties.property_1.address", Type: "text"},
	{Path: "financing.pre_approved", Type: "boolean"},
	{Path: "financing.max_budget", Type: "number"},
	{Path: "financing.down_payment", Type: "number"},
	{Path: "search.areas", Type: "array[text]"}, // has no cues of its own: its name is one
}

// claimed is a claim about one turn of a caller. quote is the whole turn where
// it is empty, and asked what the agent said before.
type claimed struct {
	asked, turn, quote, field, value string
	want                             bool
}

func (c claimed) holds() bool {
	if c.quote == "" {
		c.quote = c.turn
	}
	in := GateInput{
		Turns: []Turn{
			{Turn: 0, Role: events.RoleAgent, Text: "Hi, this is Alma. " + c.asked},
			{Turn: 1, Role: events.RoleCaller, Text: c.turn},
		},
		Fields: templateFields, Agent: "Alma", StartedAt: asked.StartedAt, Zone: time.UTC,
	}
	f := events.Finding{Turn: 1, Evidence: c.quote, Subject: subjectFor(c.field), Field: c.field, Value: c.value}
	accepted, _ := Gate(in, []events.Finding{f})
	return len(accepted) > 0
}

func subjectFor(field string) string {
	switch field {
	case "family.spouse_name":
		return "spouse"
	case "family.children", "family.birthdays":
		return "child"
	case "memory.person":
		return "other"
	}
	return "caller"
}

// What a caller's words back, and what only looks like it, side by side.
func TestFindingsAreWhatTheCallerSaid(t *testing.T) {
	t.Parallel()
	const (
		name, phone, email, address = "personal.name", "personal.phone", "personal.email", "personal.address"
		maker, model, year, vin     = "policies.auto_1.make", "policies.auto_1.model", "policies.auto_1.year", "policies.auto_1.vin"
		spouse, children, birthdays = "family.spouse_name", "family.children", "family.birthdays"
		side, status                = "status.buyer_or_seller", "properties.property_1.status"
		beds, baths, price          = "properties.property_1.bedrooms", "properties.property_1.bathrooms", "properties.property_1.asking_price"
		approved, budget, down      = "financing.pre_approved", "financing.max_budget", "financing.down_payment"
		policy, person, vehicle     = "memory.policy_number", "memory.person", "memory.vehicle"
		yourName                    = "May I have your full name?"
	)
	for rule, cases := range map[string][]claimed{
		"an enum's value has words of its own in the quote": {
			{turn: "I'm looking to buy a house.", field: side, value: "buyer", want: true},
			{turn: "We want to sell our condo.", quote: "sell our condo", field: side, value: "seller", want: true},
			{turn: "I need to sell and buy at the same time.", field: side, value: "both", want: true},
			{turn: "The house is under contract.", field: status, value: "pending", want: true},
			{turn: "Hello, can you hear me?", quote: "Hello", field: side, value: "seller"},
			{turn: "Hello. I want to buy.", quote: "Hello", field: side, value: "buyer"},
			{turn: "I want to buy.", field: side, value: "seller"},
			{turn: "Is the house on Oak Street still for sale?", quote: "Is", field: status, value: "sold"},
			{turn: "I'm a first-time buyer.", field: side, value: "buyer", want: true},
			{turn: "I'm thinking of putting my house on the market.", field: side, value: "seller", want: true},
		},
		"what is denied, asked or supposed does not hold": {
			{turn: "I am not selling, I only want to buy.", field: side, value: "seller"},
			{turn: "I am not selling, I only want to buy.", field: side, value: "buyer", want: true},
			{turn: "I never want to sell my house.", quote: "sell my house", field: side, value: "seller"},
			{turn: "Is the house on Oak Street sold?", field: status, value: "sold"},
			{turn: "It's not a Honda.", quote: "Honda", field: maker, value: "Honda"},
			{turn: "My car isn't a Honda.", quote: "Honda", field: maker, value: "Honda"},
			{turn: "My car is a Honda.", quote: "Honda", field: maker, value: "Honda", want: true},
			{turn: "I don't have 3 bedrooms.", quote: "3 bedrooms", field: beds, value: "3"},
			{turn: "I don't care, 3 bedrooms would do.", quote: "3 bedrooms", field: beds, value: "3", want: true},
			{turn: "I want no balcony facing west and my budget is 900 dollars.", quote: "budget is 900", field: budget, value: "900", want: true},
			{turn: "My budget is not 300 thousand.", field: budget, value: "300000"},
			{turn: "Please don't call me at 303-555-0171 any more.", field: phone, value: "303-555-0171"},
			{turn: "206 555 0123 is not my number.", field: phone, value: "2065550123"},
			{turn: "I can't say I think it's a Honda.", quote: "Honda", field: maker, value: "Honda"},
			{turn: "My old car used to be a Honda.", field: maker, value: "Honda"},
			{turn: "If I sell my house, what then?", quote: "sell my house", field: side, value: "seller"},
			{turn: "I want not only three bedrooms.", field: beds, value: "3", want: true},
			{turn: "No, it has 3 bedrooms.", field: beds, value: "3", want: true},
			{turn: "It has no 3 bedrooms.", field: beds, value: "3"},
			{turn: "Honda? No, my car is a Ford.", quote: "Honda", field: maker, value: "Honda"},
			{turn: "My name is Max? No.", field: name, value: "Max"},
			{turn: "My email isn't lee@example.com.", field: email, value: "lee@example.com"},
			{turn: "My wife is not Joan.", field: spouse, value: "Joan"},
			{turn: "I was not born on May 3rd, 1980.", field: "personal.birth_date", value: "1980-05-03"},
			{turn: "My policy number is not 4471200.", field: policy, value: "4471200"},
			{turn: "My Honda is not starting.", field: maker, value: "Honda", want: true},
			{turn: "My Honda will not start.", field: maker, value: "Honda", want: true},
			{turn: "My car is not a Ford but a Honda.", field: maker, value: "Honda", want: true},
			{turn: "I don't have a Ford and a Honda.", field: maker, value: "Honda"},
			{turn: "I don't care I want 3 bedrooms.", field: beds, value: "3", want: true},
			{turn: "I wonder if you insure my Honda.", field: maker, value: "Honda", want: true},
			{turn: "I am used to my Honda.", field: maker, value: "Honda", want: true},
			{turn: "I used my Honda a lot.", field: maker, value: "Honda", want: true},
			{turn: "I used to drive a Honda.", field: maker, value: "Honda"},
			{turn: "My name is Max. No rush.", field: name, value: "Max", want: true},
			{turn: "My Honda? It is red.", field: maker, value: "Honda", want: true},
			{turn: "Pre-approval is not done.", field: approved, value: "true"},
		},
		"what the caller takes back does not hold": {
			{turn: "My policy number is 48, no, sorry, 45210.", field: policy, value: "45210", want: true},
			{turn: "I have three, no, sorry, four bedrooms.", field: beds, value: "3"},
			{turn: "I have three, no, sorry, four bedrooms.", field: beds, value: "4", want: true},
			{turn: "My name is Bob, I mean, Rob.", field: name, value: "Bob"},
			{turn: "My number is 206 555 0123, sorry, 206 555 0124.", field: phone, value: "2065550123"},
			{turn: "My number is 206 555 0123, sorry, 206 555 0124.", field: phone, value: "2065550124", want: true},
			{turn: "My name is Ann, sorry. I need help.", field: name, value: "Ann", want: true},
		},
		"true needs words of the field": {
			{turn: "Yes, I'm pre-approved.", field: approved, value: "true", want: true},
			{turn: "We already got a preapproval.", quote: "preapproval", field: approved, value: "true", want: true},
			{asked: "Are you pre-approved?", turn: "Yes, I am.", field: approved, value: "true", want: true},
			{asked: "Are you pre-approved?", turn: "Yes.", field: approved, value: "false"},
			{turn: "Hello, can you hear me?", quote: "hear me", field: approved, value: "true"},
			{turn: "I am not pre-approved yet.", quote: "pre-approved", field: approved, value: "true"},
			{turn: "Am I pre-approved?", quote: "pre-approved", field: approved, value: "true"},
			{turn: "My brother is pre-approved.", field: approved, value: "true"},
			{turn: "The bank pre-approved us for 400 thousand.", field: approved, value: "true", want: true},
			{asked: "Are you pre-approved or paying cash?", turn: "Yes.", field: approved, value: "true"},
			{asked: "Is your brother pre-approved?", turn: "Yes.", field: approved, value: "true"},
			{asked: "You said you are pre-approved.", turn: "Yes.", field: approved, value: "true"},
			{asked: "Are you pre-approved?", turn: "Hold on. Yes.", quote: "Hold", field: approved, value: "true"},
			{asked: "Are you pre-approved?", turn: "Yes, the garden is nice.", quote: "the garden is nice", field: approved, value: "true"},
		},
		"false needs a denial of the field": {
			{turn: "We aren't pre-approved yet.", quote: "pre-approved yet", field: approved, value: "false", want: true},
			{asked: "Are you pre-approved?", turn: "No, not yet.", field: approved, value: "false", want: true},
			{asked: "Do you have a garden?", turn: "No.", field: approved, value: "false"},
			{turn: "No, I didn't say Oak Street. I am pre-approved.", quote: "I am pre-approved", field: approved, value: "false"},
			{turn: "No rush, I'm pre-approved.", field: approved, value: "false"},
			{turn: "No pre-approval yet.", field: approved, value: "false", want: true},
			{turn: "I haven't gotten preapproved yet.", field: approved, value: "false", want: true},
			{asked: "Are you pre-approved?", turn: "Hold on.", field: approved, value: "false"},
		},
		"a number is a whole one in the quote": {
			{turn: "It was version 1.250000 or so", quote: "version 1.250000", field: budget, value: "1.25"},
			{turn: "Our budget is 1250000.", quote: "budget is 1250000", field: budget, value: "1250000", want: true},
			{turn: "Our budget is 1250000.", quote: "budget is 1250000", field: budget, value: "250000"},
			{turn: "We could go up to three hundred and fifty thousand.", field: budget, value: "350000", want: true},
			{turn: "We could go up to three hundred and fifty thousand.", field: budget, value: "50000"},
			{turn: "I need 3 bedrooms. Thanks.", quote: "Thanks", field: beds, value: "3"},
			{turn: "We could go up to 450,000.", field: budget, value: "450000", want: true},
			{turn: "We could go up to 450,000.", field: budget, value: "450"},
		},
		"a number counts what the field holds": {
			{turn: "Three bedrooms and 2 baths.", field: beds, value: "3", want: true},
			{turn: "Three bedrooms and 2 baths.", field: baths, value: "2", want: true},
			{turn: "Three bedrooms and 2 baths.", field: beds, value: "2"},
			{turn: "2 kids and a house.", quote: "house", field: beds, value: "2"},
			{asked: "How many bedrooms do you need?", turn: "Four, please.", field: beds, value: "4", want: true},
			{asked: "What is your budget?", turn: "About 400k.", field: budget, value: "400000", want: true},
			{asked: "How many kids do you have?", turn: "Four.", field: beds, value: "4"},
			{turn: "My neighbor has three bedrooms.", field: beds, value: "3"},
			{turn: "I can put 50 thousand down and my budget is 400 thousand.", field: down, value: "50000", want: true},
			{turn: "I can put 50 thousand down and my budget is 400 thousand.", field: down, value: "400000"},
			{turn: "We're asking $450,000 for it.", field: price, value: "450000", want: true},
			{turn: "At least three bedrooms, two and a half baths.", field: baths, value: "2.5", want: true},
			{turn: "My neighbor has two baths, I want 3 bedrooms, 2 baths.", field: beds, value: "2"},
			{asked: "How many bedrooms do you need?", turn: "My 2 kids and I need 4.", field: beds, value: "2"},
			{asked: "How many bedrooms does your friend need?", turn: "Four.", field: beds, value: "4"},
			{turn: "I have 4 kids. I need bedrooms.", field: beds, value: "4"},
			{turn: "I'd like coverage of 300,000 dollars.", field: "policies.home.coverage_amount", value: "300000", want: true},
			{asked: "How many bedrooms do you need?", turn: "We are 6 people, so 4.", field: beds, value: "6"},
			{asked: "How many bedrooms do you need?", turn: "Four, my 2 kids share one.", field: beds, value: "4", want: true},
			{asked: "How many bedrooms do you need?", turn: "I think 4, for now.", field: beds, value: "4", want: true},
			{asked: "How many bedrooms do you need?", turn: "I think 4 please.", field: beds, value: "4", want: true},
			{asked: "How many bedrooms do you need?", turn: "I think 4 or so.", field: beds, value: "4", want: true},
			{asked: "How many bedrooms do you need?", turn: "I have 2 kids.", field: beds, value: "2"},
			{turn: "I make 500, budget is 400 thousand.", field: budget, value: "400000", want: true},
			{turn: "I make 500, budget is 400 thousand.", field: budget, value: "500"},
			{turn: "Peter's house has 3 bedrooms.", field: beds, value: "3"},
			{turn: "Here's what I want: 3 bedrooms.", field: beds, value: "3", want: true},
		},
		"a year is said in full, or as one is": {
			{turn: "I drive a 2019 Honda Civic.", field: year, value: "2019", want: true},
			{turn: "I drive a twenty nineteen Honda.", field: year, value: "2019", want: true},
			{turn: "I drive an 09 Civic.", field: year, value: "2009", want: true},
			{turn: "I have 9 points on a Civic.", field: year, value: "2009"},
			{turn: "I have owed 2019 dollars on my bill.", field: year, value: "2019"},
			{turn: "I drive a 19 Honda.", field: year, value: "2018"},
			{turn: "I have the 09 call.", field: year, value: "2009"},
			{turn: "I have 2 cars, 09 each.", field: year, value: "2009"},
			{turn: "my car is a 2019 honda", field: year, value: "2019", want: true},
			{asked: "And the year of the car?", turn: "2018.", field: year, value: "2018", want: true},
			{turn: "I have owned it since 2019.", field: year, value: "2019"},
			{turn: "I have sold 19 Hondas.", field: year, value: "2019"},
			{turn: "i drive a 2019 civic", field: year, value: "2019", want: true},
			{turn: "I drive a Honda with 2019 stickers.", field: year, value: "2019"},
		},
		"a phone number is one whole number": {
			{turn: "My number is 206 555 0123.", field: phone, value: "2065550123", want: true},
			{turn: "You can reach me at two oh six, five five five, oh one two three.", field: phone, value: "2065550123", want: true},
			{turn: "You can reach me at 206 triple five 0123.", field: phone, value: "2065550123", want: true},
			{turn: "call me at (206) 555-0123", quote: "206", field: phone, value: "2065550123", want: true},
			{turn: "I pay 206 a month, I have 555 points and my unit is 0123.", quote: "I pay 206 a month", field: phone, value: "+12065550123"},
			{turn: "My account is 99206555012388.", field: phone, value: "2065550123"},
			{turn: "My number is 206 555 0123 4.", field: phone, value: "2065550123"},
			{turn: "Yes. My number is 206 555 0123.", quote: "Yes", field: phone, value: "2065550123"},
			{turn: "My number is 206 555 0124.", field: phone, value: "2065550123"},
			{asked: "What is your phone number?", turn: "Area code 206, then 555, 0123.", field: phone, value: "2065550123", want: true},
			{asked: "What's the best number to reach you?", turn: "It's 206-555-0123.", field: phone, value: "2065550123", want: true},
			{turn: "Sure, here's my number. It's 206 555 0123.", field: phone, value: "2065550123", want: true},
			{turn: "I called about my account 2065550123.", field: phone, value: "2065550123"},
			{turn: "Here's my number. The garage said 206 555 0123.", field: phone, value: "2065550123"},
			{turn: "Here's my number. I found 206 555 0123 on it.", field: phone, value: "2065550123"},
			{turn: "My number is 206. 555 0123 is what I owe.", field: phone, value: "2065550123"},
			{turn: "206 555 0123 is what I owe.", field: phone, value: "2065550123"},
			{turn: "Here's my number. The bill was 206 555 0123.", field: phone, value: "2065550123"},
			{asked: "What's your number?", turn: "I have 206 555 0123.", field: phone, value: "2065550123", want: true},
		},
		"a phone number has the country said": {
			{turn: "call me at +44 20 7946 0958", field: phone, value: "+442079460958", want: true},
			{turn: "call me at +1 206 555 0123", field: phone, value: "+12065550123", want: true},
			{turn: "call me at 206 555 0123", quote: "206 555 0123", field: phone, value: "+2065550123"},
			{turn: "call me at 20 7946 0958", field: phone, value: "+442079460958"},
			{turn: "call me at plus 44 20 7946 0958", field: phone, value: "+442079460958", want: true},
			{turn: "call me at 011 44 20 7946 0958", field: phone, value: "+442079460958", want: true},
			{turn: "call me at 1 206 555 0123", field: phone, value: "+12065550123", want: true},
			{turn: "call me at +47 22 12 34 56", field: phone, value: "+4722123456", want: true},
			{turn: "call me at plus 47 22 12 34 56", field: phone, value: "+4722123456", want: true},
			{asked: "What's your number?", turn: "+47 22 12 34 56", field: phone, value: "+4722123456", want: true},
			{turn: "call me at 0044 20 7946 0958", field: phone, value: "+442079460958", want: true},
		},
		"an e-mail address is exactly the one said": {
			{turn: "My email is Ann dot Lee at example dot com.", quote: "Ann dot Lee", field: email, value: "ann.lee@example.com", want: true},
			{turn: "Mine is <ann.lee@example.com>, thanks", quote: "ann.lee", field: email, value: "ann.lee@example.com", want: true},
			{asked: "What's your email address?", turn: "It's l e e underscore 9 at example dot co dot uk.", quote: "l e e", field: email, value: "lee_9@example.co.uk", want: true},
			{asked: "What's your email?", turn: "john smith at example dot com", field: email, value: "johnsmith@example.com", want: true},
			{turn: "My email is lee@example.com.", field: email, value: "emailislee@example.com"},
			{turn: "This is a lee@example.com.", quote: "lee@example.com", field: email, value: "alee@example.com"},
			{turn: "My email is ann dot lee at example dot com", field: email, value: "lee@example.com"},
			{turn: "My email is lee at example dot co dot uk", field: email, value: "lee@example.co"},
			{turn: "My email is lee at example dot com", field: email, value: "lee@example.co"},
			{turn: "My email is lee at example dot org", field: email, value: "lee@example.com"},
			{turn: "You can email me at dana.fox@example.com at any time.", field: email, value: "dana.fox@example.com", want: true},
			{turn: "Reach me at dana at example dot com at work.", field: email, value: "dana@example.com", want: true},
			{asked: "What's your email?", turn: "a n n at example dot com.", field: email, value: "ann@example.com", want: true},
			{turn: "My email is lee at example dot com thanks", field: email, value: "lee@example.comthanks"},
			{turn: "My email is ann-lee@example.com.", field: email, value: "lee@example.com"},
			{turn: "My email is lee@example.com.", quote: "My email", field: email, value: "lee@example.com"},
			{asked: "What's your email?", turn: "a dot lee at example dot com", field: email, value: "a.lee@example.com", want: true},
			{turn: "my email lee at example dot com", field: email, value: "emaillee@example.com"},
			{turn: "My email is a lee@example.com.", field: email, value: "alee@example.com"},
			{turn: "my email, sure lee at example dot com", field: email, value: "surelee@example.com"},
			{asked: "What's your email?", turn: "Ann, lee at example dot com", field: email, value: "annlee@example.com"},
			{turn: "My email is lee at example dot com tomorrow", field: email, value: "lee@example.comtomorrow"},
		},
		"an identifier is said in full, with nothing invented": {
			{turn: "My policy is 4471200.", quote: "4471200", field: policy, value: "4471200", want: true},
			{turn: "My policy number is P X 4 8 2 1 0.", field: policy, value: "PX-48210", want: true},
			{turn: "My policy number is PX four eight double two.", field: policy, value: "PX4822", want: true},
			{turn: "The VIN is 1HGCM82633A004352.", field: vin, value: "1HGCM82633A004352", want: true},
			{turn: "My policy is 4471200.", quote: "4471200", field: policy, value: "HOME4471200"},
			{turn: "My policy is 4471200.", quote: "4471200", field: policy, value: "44712"},
			{turn: "The car ends in 12345.", quote: "ends in 12345", field: vin, value: "WVWZZZHACK12345"},
			{turn: "The VIN is 1HGCM82633A004352.", field: vin, value: "82633"},
			{asked: "Could you give me the policy number?", turn: "Yes, it's 447 1200.", field: policy, value: "4471200", want: true},
			{asked: "What's your policy number?", turn: "A B C one two three four.", field: policy, value: "ABC1234", want: true},
			{turn: "My policy number is 4 8 2 1 0.", field: policy, value: "821"},
			{turn: "My policy number is 4 8 2 1 0.", field: policy, value: "4821"},
			{turn: "My policy number is 4 8 double 2.", field: policy, value: "482"},
			{turn: "My policy number is 447. 1200 is what I pay.", field: policy, value: "4471200"},
			{turn: "My policy number is 44712B.", field: policy, value: "44712"},
			{asked: "What's the VIN?", turn: "1 H G C M 8 2 6 3 3.", field: vin, value: "1HGCM82633", want: true},
			{turn: "My policy number is a 48210.", field: policy, value: "48210", want: true},
			{turn: "My policy number is 4 8 2 1 0.", field: policy, value: "210"},
			{turn: "My policy number is 4 8 double 2.", field: policy, value: "48"},
		},
		"a name is whole words": {
			{turn: "My name is Peter Manning.", field: name, value: "Peter Manning", want: true},
			{turn: "My name is Ann, last name Lee.", quote: "My name is Ann", field: name, value: "Ann Lee", want: true},
			{turn: "My name is Jones.", field: name, value: "Jon"},
			{turn: "My name is Peter Manning.", field: name, value: "Peter Mann"},
			{turn: "This is Robert Williams.", field: name, value: "Roberts William"},
			{turn: "My name is Ann.", field: name, value: "Anne"},
			{turn: "My last name is Reyes, R E Y E S.", field: name, value: "Reyes", want: true},
			{asked: yourName, turn: "It is spelled S M I T H.", quote: "S M I T H", field: name, value: "Smith", want: true},
			{turn: "It is spelled S M I T H.", quote: "S M I T H", field: name, value: "Mit"},
			{turn: "My last name is R E Y E S.", field: name, value: "Reyes", want: true},
			{turn: "My last name is R E Y E S.", field: name, value: "Eyes"},
			{asked: yourName, turn: "Dana Fox, F O X.", quote: "Fox", field: name, value: "Dana Fox", want: true},
			{turn: "My name is Ann, Lee called.", field: name, value: "Ann Lee"},
			{turn: "I'm Ann, hi. My name is Ann.", quote: "My name is Ann", field: name, value: "Ann", want: true},
		},
		"a name is given as one": {
			{turn: "Hello, this is Nadia Farouk speaking.", field: name, value: "Nadia Farouk", want: true},
			{turn: "Hi, it's Ben.", field: name, value: "Ben", want: true},
			{turn: "I'm Maria de la Cruz.", field: name, value: "Maria de la Cruz", want: true},
			{turn: "my name is jorge luna", field: name, value: "Jorge Luna", want: true},
			{turn: "Brian White is my name.", field: name, value: "Brian White", want: true},
			{turn: "Tom Ellery here.", field: name, value: "Tom Ellery", want: true},
			{asked: yourName, turn: "Grace O'Neill.", field: name, value: "Grace O'Neill", want: true},
			{asked: yourName, turn: "Sure, it's Grace O'Neill.", field: name, value: "Grace O'Neill", want: true},
			{turn: "My name is hard to spell.", field: name, value: "hard to spell"},
			{turn: "This is a claim.", field: name, value: "this"},
			{turn: "I'm Canadian.", field: name, value: "Canadian"},
			{turn: "I work with Tom Ellery.", field: name, value: "Tom Ellery"},
			{turn: "This is about Sam Smith.", field: name, value: "Sam Smith"},
			{turn: "This is State Farm, right?", field: name, value: "State Farm"},
			{turn: "No, my name is not Bob.", quote: "my name is not Bob", field: name, value: "Bob"},
			{turn: "Is this Alma Reed?", field: name, value: "Alma Reed"},
			{turn: "My name's Dana Fox.", field: name, value: "Dana Fox", want: true},
			{turn: "My first name is Dana and my last name is Fox.", field: name, value: "Dana Fox", want: true},
			{turn: "Hi, uh, this is, um, Dr. Dana Fox.", field: name, value: "Dr. Dana Fox", want: true},
			{turn: "You can call me Dana.", field: name, value: "Dana", want: true},
			{turn: "Well, the surname is Fox.", field: name, value: "Fox", want: true},
			{turn: "my name is mark and i need help", field: name, value: "Mark", want: true},
			{turn: "Call me Tuesday.", field: name, value: "Tuesday"},
			{turn: "I'm going home.", field: name, value: "home"},
			{turn: "I'm Home Alone, it seems. This is fun.", field: name, value: "fun"},
			{turn: "It was in front of Ann Lee here.", field: name, value: "Ann Lee"},
			{turn: "I called. Ann Lee is at my place.", field: name, value: "Ann Lee"},
			{asked: yourName, turn: "You know Ann Lee?", field: name, value: "Ann Lee"},
			{turn: "The name on it, Ann Lee, is wrong.", field: name, value: "Ann Lee"},
			{turn: "My name is 4.", field: name, value: "4"},
			{asked: "Please tell me your full name.", turn: "Grace O'Neill.", field: name, value: "Grace O'Neill", want: true},
			{turn: "This is Ann Lee, can you help me?", field: name, value: "Ann Lee", want: true},
			{turn: "My name is tricky to spell, Sir.", field: name, value: "tricky"},
			{turn: "This is Mom.", field: name, value: "Mom"},
			{turn: "This is It.", field: name, value: "It"},
			{turn: "Hi, Ben.", field: name, value: "Ben"},
			{turn: "Yes, it's Cedar.", field: name, value: "Cedar"},
			{turn: "You said this is Mia Carter.", field: name, value: "Mia Carter"},
		},
		"a name is the caller's own": {
			{turn: "I'm Ann Lee and the other driver was Bob Smith.", quote: "I'm Ann Lee", field: name, value: "Ann Lee", want: true},
			{turn: "I'm Ann Lee and the other driver was Bob Smith.", quote: "I'm Ann", field: name, value: "Ann Smith"},
			{turn: "I'm Ann Lee and the other driver was Bob Smith.", quote: "the other driver was Bob Smith", field: name, value: "Bob Smith"},
			{turn: "His full name is Walter Stone and he ran the light.", field: name, value: "Walter Stone"},
			{turn: "The other driver's first name is Lauren and her last name is Daniels.", field: name, value: "Lauren"},
			{turn: "He told me: I'm Walter Stone, call my insurer.", quote: "I'm Walter Stone", field: name, value: "Walter Stone"},
			{turn: "I'm Walter's wife.", field: name, value: "Walter"},
			{turn: "The witness name is Bob Ross.", quote: "name is Bob Ross", field: name, value: "Bob Ross"},
			{turn: "It's Zachary Walker who hit me.", field: name, value: "Zachary Walker"},
			{asked: "What is the other driver's name?", turn: "Walter Stone.", field: name, value: "Walter Stone"},
			{turn: "I'm Dana Fox, my wife is Joan.", field: name, value: "Joan"},
			{turn: "The other driver, name is Bob Ross.", field: name, value: "Bob Ross"},
			{turn: "My name is Ann Lee, his name is Bob.", field: name, value: "Bob"},
			{turn: "My mother's name is Rosa Diaz.", field: name, value: "Rosa Diaz"},
			{turn: "My dog's name is Rex.", field: name, value: "Rex"},
			{turn: "This is Walter who hit me.", field: name, value: "Walter"},
			{turn: "Ann Lee is my lawyer.", field: name, value: "Ann Lee"},
			{asked: "What is the other driver's name, if I may ask?", turn: "Walter Stone.", field: name, value: "Walter Stone"},
			{turn: "You said I'm Mia Carter.", field: name, value: "Mia Carter"},
			{turn: "He said hello there, I'm Ann Lee.", field: name, value: "Ann Lee", want: true},
		},
		"a relative's name is that relative's": {
			{turn: "My husband Liam is on the policy too.", field: spouse, value: "Liam", want: true},
			{turn: "My wife's name is Joan.", field: spouse, value: "Joan", want: true},
			{asked: "What's your wife's name?", turn: "Joan.", field: spouse, value: "Joan", want: true},
			{turn: "We have two kids, Max and Mia.", field: children, value: "Max, Mia", want: true},
			{turn: "My son is called Max.", field: spouse, value: "Max"},
			{turn: "His wife is called Joan.", field: spouse, value: "Joan"},
			{turn: "My wife works with Joan's brother Pete.", field: spouse, value: "Pete"},
			{turn: "Joan is my wife.", field: spouse, value: "Joan", want: true},
			{turn: "We have a son, Max, and a daughter named Mia.", field: children, value: "Mia", want: true},
			{asked: "What are your children's names?", turn: "Max and Mia.", field: children, value: "Max, Mia", want: true},
			{asked: "What's your wife's name?", turn: "I'm Bob.", field: spouse, value: "Bob"},
			{turn: "My wife is tired.", field: spouse, value: "tired"},
			{turn: "Her husband is Liam.", field: spouse, value: "Liam"},
			{turn: "My sister's son Max is here.", field: children, value: "Max"},
			{turn: "My wife Joan Ann is here.", quote: "is here", field: spouse, value: "Joan"},
			{turn: "My wife is Happy now.", field: spouse, value: "Happy"},
			{turn: "Joan called.", field: spouse, value: "Joan"},
			{turn: "Joan is my lawyer.", field: spouse, value: "Joan"},
			{turn: "Joan is his wife.", field: spouse, value: "Joan"},
			{turn: "His car hit my wife Joan.", field: spouse, value: "Joan", want: true},
		},
		"what is another's is not the caller's": {
			{turn: "The other driver's number is 206 555 0123.", field: phone, value: "2065550123"},
			{turn: "My number is wrong there; the other driver has 303-555-0171.", field: phone, value: "303-555-0171"},
			{turn: "You can email my lawyer at bob@lawyers.com.", field: email, value: "bob@lawyers.com"},
			{turn: "The other driver said write to walter@example.com.", field: email, value: "walter@example.com"},
			{turn: "I live next to him, he is at 12 Birch Road.", field: address, value: "12 Birch Road"},
			{turn: "I live at 12 Birch Road with my son.", field: address, value: "12 Birch Road", want: true},
			{turn: "My ex-husband lives at 12 Oak Street, we live apart.", field: address, value: "12 Oak Street"},
			{turn: "Their insurance company is State Farm and their policy number is 987654321.", field: policy, value: "987654321"},
			{turn: "I was hit, the guy has a 2011 Ford Focus.", field: maker, value: "Ford"},
			{turn: "I was hit by a 2015 Ford Focus.", field: vehicle, value: "2015 Ford Focus"},
			{turn: "My wife drives a Toyota Camry.", field: model, value: "Camry"},
			{turn: "My Honda Civic was hit by a Ford Focus.", field: maker, value: "Honda", want: true},
			{turn: "My Honda Civic was hit by a Ford Focus.", field: maker, value: "Ford"},
			{asked: "What car do you drive?", turn: "A Toyota Camry.", field: model, value: "Camry", want: true},
			{turn: "I was driving home in my Subaru when he hit me.", field: maker, value: "Subaru", want: true},
			{turn: "I was rear-ended by a Ford Focus.", field: maker, value: "Ford"},
			{turn: "I have my car here. A Ford went by.", field: maker, value: "Ford"},
			{turn: "My car was hit and then a Ford hit it.", field: maker, value: "Ford"},
			{turn: "I drive slowly, you know how it is there, then a Ford came.", field: maker, value: "Ford"},
			{turn: "He said he lives next to me at 12 Birch Road.", field: address, value: "12 Birch Road"},
			{asked: "What car does your son drive?", turn: "A Toyota.", field: maker, value: "Toyota"},
			{turn: "My Honda is here, the other car is a Ford.", field: maker, value: "Ford"},
			{turn: "My other car is a Ford.", field: maker, value: "Ford", want: true},
			{turn: "I have two kids and a Honda.", field: maker, value: "Honda", want: true},
			{turn: "I was hit by a guy. He said my number is 206 555 0123.", field: phone, value: "2065550123"},
		},
		"a person remembered may be anybody named": {
			{turn: "The witness's name is John Smith.", field: person, value: "John Smith", want: true},
			{turn: "Her name is Kimberly Zimmerman.", field: person, value: "Kimberly Zimmerman", want: true},
			{turn: "The driver is not John Smith.", field: person, value: "John Smith"},
			{turn: "The witness's name is John Smithson.", field: person, value: "John Smith"},
			{turn: "John saw it, and Peter Smith too.", field: person, value: "John Smith"},
			{turn: "It was the driver of the van.", field: person, value: "the"},
		},
		"a date is in the quote": {
			{turn: "My son Max was born on May 3.", field: birthdays, value: "May 3", want: true},
			{turn: "Max was born on May 3. Anyway, thanks.", quote: "thanks", field: birthdays, value: "May 3"},
			{turn: "Max was born on May 3.", quote: "Max was born", field: birthdays, value: "May 3"},
			{turn: "I was born on May 3rd, 1980.", field: "personal.birth_date", value: "1980-05-03", want: true},
			{turn: "My wife was born on May 3rd, 1980.", field: "personal.birth_date", value: "1980-05-03"},
			{turn: "I saw it on May 3rd, 1980.", field: "personal.birth_date", value: "1980-05-03"},
			{turn: "Max was born on May 3rd 2015 and Mia on June 4th 2017.", field: birthdays, value: "May 3rd 2015, June 4th 2017", want: true},
			{turn: "My renewal is on March 3rd.", field: "memory.date", value: "March 3rd", want: true},
			{turn: "He was born on May 3rd, 2015.", field: birthdays, value: "2015-05-03"},
			{asked: "When were you born?", turn: "May 3rd, 1980.", field: "personal.birth_date", value: "1980-05-03", want: true},
		},
		"text is the words said, side by side": {
			{turn: "My new address is 12 Birch Road, Springfield.", field: address, value: "12 Birch Road, Springfield", want: true},
			{turn: "We looked at the areas Oak Park and Cedar.", field: "search.areas", value: "Oak Park", want: true},
			{turn: "We looked at the areas Oak Park and Cedar.", field: "search.areas", value: "Oak Cedar"},
			{turn: "The beneficiary is my sister Joan.", field: "policies.life.beneficiary", value: "Joan", want: true},
			{turn: "My sister Joan called.", field: "policies.life.beneficiary", value: "Joan"},
			{turn: "A banana.", field: "memory.request", value: "the"},
			{turn: "My address is twelve, uh, Birch Road.", field: address, value: "12 Birch Road", want: true},
			{turn: "We moved to 12 Birch Road in Springfield.", field: address, value: "12 Birch Road, Springfield", want: true},
			{turn: "I moved to 12 Birch. Road works are near.", field: address, value: "12 Birch Road"},
			{turn: "I live at 112B Birch Road.", field: address, value: "112"},
			{turn: "My wife's beneficiary is Joan.", field: "policies.life.beneficiary", value: "Joan", want: true},
			{turn: "I want to insure my new Tesla Model 3.", field: model, value: "Model 3", want: true},
			{turn: "My address is 12 Birch Road, Springfield.", field: address, value: "12 Birch Road in Springfield", want: true},
			{asked: "What's your address?", turn: "Sure. 12 Birch Road.", field: address, value: "12 Birch Road", want: true},
			{turn: "I live on R E Y E S Road.", field: address, value: "Reyes Road", want: true},
			{turn: "I live on R E Y E S Road.", field: address, value: "Eyes Road"},
		},
		"a memory may take another form of the words": {
			{turn: "Two branches fell on my roof.", field: "memory.incident", value: "branch fell on roof", want: true},
			{turn: "Two branches fell on my roof.", field: "memory.incident", value: "branch fell on car"},
			{turn: "No branch fell on my roof.", field: "memory.incident", value: "branch fell on roof"},
			{turn: "I need a tow truck on Friday.", field: "memory.request", value: "tow truck on Friday", want: true},
			{turn: "I can't drive at night.", field: "memory.note", value: "can't drive at night", want: true},
			{turn: "I can't drive at night.", field: "memory.note", value: "not at night"},
			{turn: "I need a tow truck on Friday.", quote: "I need", field: "memory.request", value: "tow truck"},
			{turn: "My neighbor needs a tow truck.", field: "memory.note", value: "needs a tow truck"},
			{turn: "My neighbor needs a tow truck.", field: "memory.request", value: "neighbor needs a tow truck", want: true},
			{turn: "I never drive at night.", field: "memory.note", value: "never drives at night", want: true},
			{turn: "I need that tow truck.", field: "memory.note", value: "needs a tow truck", want: true},
			{turn: "I need a tow truck on Friday.", quote: "tow truck", field: "memory.request", value: "tow truck on Friday", want: true},
			{turn: "My neighbor needs a tow truck.", field: "memory.request", value: "needs a tow truck", want: true},
		},
		"health, faith and the like are not remembered": {
			{turn: "I have diabetes.", field: "memory.health", value: "diabetes"},
			{turn: "I have diabetes.", field: "memory.note", value: "has diabetes"},
			{turn: "I go to the mosque on Fridays.", field: "memory.note", value: "Fridays"},
			{turn: "I have a dog.", field: "memory.note", value: "dog", want: true},
		},
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			for _, c := range cases {
				if got := c.holds(); got != c.want {
					t.Errorf("%s is %q after %q, %q (quoted %q): %v, want %v", c.field, c.value, c.asked, c.turn, c.quote, got, c.want)
				}
			}
		})
	}
}

// The gate's time is bounded: it reads the beginning of an endless turn.
func TestOnlyTheBeginningOfAnEndlessTurnIsRead(t *testing.T) {
	t.Parallel()
	for words, want := range map[int]bool{maxWords - 5: true, maxWords: false} {
		c := claimed{turn: strings.Repeat("la ", words) + ". My name is Ann.", quote: "My name is Ann", field: "personal.name", value: "Ann"}
		if got := c.holds(); got != want {
			t.Errorf("after %d words: %v, want %v", words, got, want)
		}
	}
}

func TestStagesAreSaidByTheCaller(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		turn, stage, quote string
		want               bool
	}{
		"words that say nothing":      {"I am calling about the claim.", "First Contact", "I", false},
		"a first contact":             {"I am calling about the claim.", "First Contact", "calling about the claim", true},
		"words of the stage":          {"I got your quote and like it.", "Quote Sent", "got your quote", true},
		"words of another stage":      {"I got your quote and like it.", "Lost", "got your quote", false},
		"a quote that was not got":    {"I have not received your quote.", "Quote Sent", "received your quote", false},
		"an application":              {"I want to apply today.", "Application", "want to apply", true},
		"no application":              {"I am not ready to apply.", "Application", "ready to apply", false},
		"no signature":                {"I never signed the policy.", "Closed/Bound", "signed the policy", false},
		"somebody else's quote":       {"My neighbour got the quote.", "Quote Sent", "got the quote", false},
		"somebody else who is lost":   {"My neighbor is not interested anymore but I am.", "Lost", "not interested anymore", false},
		"a loss, which is a denial":   {"I'm not interested anymore.", "Lost", "not interested anymore", true},
		"a loss, quoted in part":      {"I'm no longer interested.", "Lost", "interested", false},
		"words that nobody said":      {"I want to apply.", "Application", "I will apply", false},
		"words that only ask for it":  {"Did you get my application?", "Application", "my application", false},
		"follow-up":                   {"I spoke to Paula last week.", "Follow-up", "spoke to Paula", true},
		"something supposed, not so.": {"If I signed the contract, what then?", "Closed/Bound", "signed the contract", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Staged([]Turn{{Turn: 1, Role: events.RoleCaller, Text: c.turn}}, c.stage, c.quote); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// What the rules cannot read has to stand in the quote as it is.
func TestOtherLanguagesAreTakenWordForWord(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		turn, quote, field, value string
		want                      bool
	}{
		{"Me llamo Ana López y mi coche es un Seat.", "Me llamo Ana López", "personal.name", "Ana López", true},
		{"Me llamo Ana López y mi coche es un Seat.", "Me llamo Ana López", "personal.name", "Ana Lopes", false},
		{"Me llamo Ana López y mi coche es un Seat.", "mi coche es", "policies.auto_1.make", "Seat", false},
		{"Me llamo Ana López y mi coche es un Seat.", "mi coche es un Seat", "policies.auto_1.make", "Seat", true},
		{"Mi número es el 206 555 0142.", "el 206 555 0142", "personal.phone", "+12065550142", true},
		{"Mi número es el 206 555 0142.", "el 206 555", "personal.phone", "+12065550142", false},
		{"Quiero comprar una casa.", "Quiero comprar una casa.", "status.buyer_or_seller", "buyer", false},
	} {
		in := GateInput{Turns: []Turn{{Turn: 1, Role: events.RoleCaller, Text: tc.turn, Lang: "es-MX"}}, Fields: templateFields, Agent: "Alma", StartedAt: asked.StartedAt}
		accepted, rejected := Gate(in, []events.Finding{{Turn: 1, Evidence: tc.quote, Subject: "caller", Field: tc.field, Value: tc.value}})
		if len(accepted) > 0 != tc.want {
			t.Errorf("%s %q of %q: %+v", tc.field, tc.value, tc.quote, rejected)
		}
	}
}

// What a caller has sold is known to be gone, and not taken for what he has.
func TestWhatIsSoldIsGone(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]struct{ makes, gone string }{
		"I sold my Toyota last week.":                  {"Toyota", "Toyota"},
		"We just sold the Toyota.":                     {"Toyota", "Toyota"},
		"I've traded in my 2015 Toyota.":               {"Toyota", "Toyota"},
		"We got rid of the old Toyota.":                {"Toyota", "Toyota"},
		"I sold my Honda and I drive a Toyota now.":    {"Toyota", ""},
		"I drive a Toyota.":                            {"Toyota", ""},
		"My wife sold the Toyota.":                     {"", ""},
		"The dealer sold me a Toyota.":                 {"", ""},
		"I never sold my Toyota.":                      {"", ""},
		"I want to sell my Toyota.":                    {"Toyota", ""},
		"My wife drives the Toyota.":                   {"", ""},
		"My wife drives the Toyota and I drive a Kia.": {"", ""},
	} {
		t.Run(said, func(t *testing.T) {
			t.Parallel()
			found, _ := Gate(GateInput{
				Turns: []Turn{{Turn: 1, Role: "caller", Text: said}}, Fields: []events.Field{{Path: "policies.auto_1.make", Type: "text"}},
			}, []events.Finding{{Turn: 1, Evidence: said, Subject: "caller", Field: "policies.auto_1.make", Value: "Toyota", Confidence: "stated"}})
			var makes, gone string
			for _, f := range found {
				makes = f.Value
				if f.Gone {
					gone = f.Value
				}
			}
			if makes != want.makes || gone != want.gone {
				t.Errorf("%+v", found)
			}
		})
	}
}
