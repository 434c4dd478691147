package mask

import "strings"

// kind is what a number is.
type kind int

const (
	none    kind = iota
	month        // stays when it is next to a number
	phone        // stays
	date         // a day or a year: stays
	free         // an amount, a street, a flight: something that stays
	ref          // an order, a report: likewise
	policy       // stays where it is called so
	claim        // likewise
	secret       // asked for as digits, of something not named
	ssn          // of the social security, or another country's like
	card         // of a card
	cvv          // on its back
	expiry       // of a card
	account      // at a bank
	pin          // or another code to be kept
)

var names = map[kind]string{
	policy: "policy", claim: "claim", secret: "number", ssn: "ssn", card: "card", cvv: "cvv", expiry: "expiry", account: "account", pin: "pin",
}

var marks = map[kind]string{
	policy: "[POLICY]", claim: "[CLAIM]", secret: "[NUMBER]", ssn: "[SSN]", card: "[CARD]", cvv: "[CVV]", expiry: "[EXPIRY]", account: "[ACCOUNT]", pin: "[PIN]",
}

// isSecret reports whether numbers of a kind are left out of what is written.
func (k kind) isSecret() bool { return k >= secret }

// stays reports whether numbers of a kind are left as they are.
func (k kind) stays() bool { return k >= phone && k <= claim }

// cue is a word that says what a number near it is.
type cue struct {
	kind   kind
	strong bool // says so without "number" beside it
}

// cues by word.
var cues = table(map[cue]string{
	{ssn, true}:      "ssn ssns social itin ein nss",
	{card, false}:    "card cards visa mastercard amex debit credit tarjeta",
	{cvv, true}:      "cvv cvc cvv2 cvc2",
	{expiry, true}:   "expiry expiration exp expires expire expiring vencimiento",
	{account, true}:  "iban acct routing",
	{account, false}: "account accounts ac acc accnt savings checking cuenta",
	{pin, true}:      "pin pins passcode passcodes password passwords otp contraseña",
	{policy, true}:   "policy policies póliza",
	{claim, true}:    "claim claims",
	{phone, true}:    "phone callback telephone mobile cell cellphone landline fax ph teléfono whatsapp",
	{phone, false}:   "call reach text contact",
	{date, true}:     "date dob birthday year",
	{date, false}:    "dated born since until built",
	{free, true}: `amount balance price budget deductible premium mileage odometer salary
		vin zip zipcode postcode address email door extension ext`,
	{free, false}: `transfer transferring pay paid paying charge charged spend spent owe owed
		deposit deposited withdraw withdrew withdrawn missing dollars cost costs worth total income mortgage loan rent
		made manufactured model time years mail gmail limit bill payment over under about around approximately above below than
		street apartment apt suite unit lot room flight gate bus train house highway interstate route exit`,
	{ref, false}: `mls listing property parcel case file member group quote application estimate serial
		order confirmation reference ticket booking invoice tracking report ride license plate version`,
	{month, false}: `january february march april may june july august september october november december
		jan feb mar apr jun jul aug sep sept oct nov dec`,
})

// codes say which code is meant.
var codes = map[string]kind{
	"security": cvv, "card": cvv, "access": pin, "pin": pin, "secret": pin, "pass": pin, "verification": pin, "gate": pin, "door": pin,
	"zip": free, "postal": free, "area": free, "promo": free, "discount": free, "coupon": free, "booking": free, "confirmation": free,
	"error": free, "dress": none, "country": free, "claim": claim, "policy": policy,
}

func table(of map[cue]string) map[string]cue {
	out := map[string]cue{}
	for c, list := range of {
		for _, w := range strings.Fields(list) {
			out[w] = c
		}
	}
	return out
}

func set(list string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(list) {
		out[w] = true
	}
	return out
}

var (
	// numberWords make a cue beside them strong: "card number".
	numberWords = set("number numbers num no nos nr digit digits id numero número")
	// units after a number say that it counts.
	units = set(`dollars dollar bucks cents euros pounds credits usd percent am pm a.m p.m o'clock th st nd rd cc miles mile km
		hours hour minutes minute mins days day weeks week months month years year people persons guests times sq square feet foot
		ft inches meters bedroom bedrooms bed beds bath baths bathroom bathrooms degrees boxes box cars vehicles kids letters
		stars horsepower hp mph kg lbs k thousand million hundred grand percent only dollare nos`)
	streets = set(`street st avenue ave road rd lane ln drive dr boulevard blvd court ct circle cir way place pl parkway pkwy
		highway hwy terrace ter trail square plaza hollow cross complex`)
	// polite words may stand beside a number that is all there is to say.
	polite = set(`thanks thank ok okay please and is its it's are that s bye right yes yeah yep correct sir maam ma'am madam mam it the you
		sure so then alright for my or uh um er uhm sorry thats that's this no hello hi well here here's i i'm of last`)
	// asking makes a sentence one that asks for something.
	asking = set(`please need give tell provide confirm verify enter key type read spell say share what what's whats which could can
		may have how when where dime necesito cuál`)
	// amounts are asked for by these.
	amounts = set("much many old far long big")
	// echoes begin sentences that say the caller's own words back.
	echoes = set("you you're you'd")
	leads  = set("i i'll i'd we we'll let please what")
	// goingOn asks for more of the same.
	goingOn = set(`okay ok go ahead on yes yeah yep uh huh mm hm mhm hmm got it right and the rest next then continue please sure
		great thank thanks you alright perfect sorry could can i repeat that again say one more time slowly last part remaining
		i'm listening missed catch didn't did not ready whenever are keep what was is after four digits numbers number`)
	connectors = set("and or instead of not no sorry wait i mean then also")
	insurance  = set("insurance policy policies claim claims póliza")
	banking    = set("card cards account accounts debit bank banking ac acc acct savings checking")
)
