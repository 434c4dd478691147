package profile

import "strings"

// What words mean, as data. A phrase is words in the order said, compared in
// any of their forms; "|" stands between phrases.

// whose says what a field asks of the owner of its value.
type whose int

const (
	notOthers whose = iota // nobody else's, as far as the sentence says
	mine                   // the caller's own by "my", "me" or an answer to the question for it
	driven                 // a car the caller drives or calls "my"
	anyones                // or nobody's
)

// rule is what a field's value has to be said with.
type rule struct {
	cues     []phrase // name what the field holds
	whose    whose
	verbatim bool // a memory that is a name, word for word
}

type phrase []string

func phrases(s string) (out []phrase) {
	for p := range strings.SplitSeq(s, "|") {
		words := strings.Fields(p)
		for i := range words {
			words[i] = stem(words[i])
		}
		out = append(out, words)
	}
	return out
}

// rules are by a field's path, or by its last part.
var rules = map[string]rule{
	"personal.name":    {cues: phrases("name|who is calling|who am i speaking|who do i have"), whose: mine},
	"personal.phone":   {cues: phrases("phone|number|cell|mobile|reach|call|callback|text|contact|am at|m at"), whose: mine},
	"personal.email":   {cues: phrases("email|e mail|mail|write|address|reach|contact|send|am at|m at|use"), whose: mine},
	"personal.address": {cues: phrases("address|live|reside|move|moving|moved|home is|house is|mail to|mail"), whose: mine},

	"spouse_name": {cues: phrases("wife|husband|spouse|partner|fiance|fiancee|married"), whose: anyones},
	"children":    {cues: phrases("child|children|kid|son|daughter|baby|twins"), whose: anyones},
	"birthdays":   {cues: phrases("born|birthday|birth|b day|turns|turned"), whose: anyones},
	"birth_date":  {cues: phrases("born|birthday|birth|b day"), whose: mine},
	"beneficiary": {cues: phrases("beneficiary"), whose: anyones},

	"year":  {cues: phrases(vehicles), whose: driven},
	"make":  {cues: phrases(vehicles), whose: driven},
	"model": {cues: phrases(vehicles), whose: driven},
	"vin":   {cues: phrases("vin|identification number")},

	"bedrooms":        {cues: phrases("bedroom|bed|br")},
	"bathrooms":       {cues: phrases("bathroom|bath")},
	"max_budget":      {cues: phrases("budget|spend|afford|maximum|max|price|up to|at most")},
	"down_payment":    {cues: phrases("down|deposit")},
	"asking_price":    {cues: phrases("asking|ask|price|list|listed|selling for|sell it for")},
	"coverage_amount": {cues: phrases("coverage|cover|insured|insure|policy")},
	"pre_approved":    {cues: phrases("pre approved|preapproved|pre approval|preapproval")},

	"memory.vehicle":     {cues: phrases(vehicles), whose: driven, verbatim: true},
	"memory.person":      {whose: anyones, verbatim: true},
	"memory.date":        {whose: anyones},
	"memory.incident":    {whose: anyones},
	"memory.appointment": {whose: anyones},
	"memory.request":     {whose: anyones},
}

const vehicles = "car|vehicle|truck|van|suv|sedan|model|drive|drove|driving|own|have|ve|had|bought|buy|lease|insure|add"

// ruleOf a field that has none: its own name is its cue.
func ruleOf(path string) rule {
	last := path[strings.LastIndexByte(path, '.')+1:]
	if r, ok := rules[path]; ok {
		return r
	}
	if strings.HasPrefix(path, "memory.") {
		return rule{}
	}
	if r, ok := rules[last]; ok {
		return r
	}
	r := rule{cues: phrases(strings.ReplaceAll(last, "_", " "))}
	if strings.HasPrefix(path, "personal.") {
		r.whose = mine
	}
	return r
}

// meanings are the words for an enum's value; one that has none is said by its
// own words.
var meanings = map[string][]phrase{
	"buyer":   phrases("buy|buying|buyer|purchase|looking for a house|looking for a home|looking for a place|looking for an apartment|looking for a condo"),
	"seller":  phrases("sell|selling|seller|list my|listing my|put my house|put my home|putting my house|putting my home|putting our house|putting our home"),
	"both":    phrases("both|buy and sell|sell and buy|selling and buying|buying and selling"),
	"active":  phrases("active|for sale|on the market|listed"),
	"sold":    phrases("sold"),
	"pending": phrases("pending|under contract|in escrow"),

	"Follow-up":    phrases("follow up|following up|check on|check in on|check the status|status of|called before|called last|calling back|call you back|spoke"),
	"Quote Sent":   phrases("got the quote|got your quote|got a quote|received|looked at the quote|looked at your quote|saw the quote|have the quote|have your quote|read the quote|quote you sent|quote you gave"),
	"Application":  phrases("apply|applied|application|sign up"),
	"Underwriting": phrases("underwriting|underwriter|medical exam"),
	"Closed/Bound": phrases("signed|bought|purchased|bound|closed on|paid"),
	"Lost": phrases("not interested|no longer interested|no longer looking|no longer need|going with|went with|changed our mind|changed my mind|" +
		"decided against|do not need|don t need|do not want|don t want|found another|found someone|cancel"),
}

func meaningOf(value string) []phrase {
	if m, ok := meanings[value]; ok {
		return m
	}
	return phrases(fold(value))
}

// set is a set of words.
type set map[string]bool

func setOf(s string) set {
	out := set{}
	for _, w := range strings.Fields(s) {
		out[w] = true
	}
	return out
}

// who is spoken of.
type person int

const (
	nobody person = iota
	self
	spouse
	child
	another
)

// people are the words for persons.
var people = func() map[string]person {
	out := map[string]person{}
	for who, list := range map[person]string{
		self:   "i im ive me my mine myself we us our ours",
		spouse: "wife husband spouse partner fiance fiancee fiancé fiancée",
		child:  "son sons daughter daughters child children kid kids baby boy boys girl girls twins stepson stepdaughter",
		another: `he she him her his hers they them their theirs whose someone somebody anyone your driver drivers guy guys man men woman
			women lady gentleman person neighbor neighbors neighbour neighbours friend friends buddy boyfriend girlfriend mother father
			mom dad mum mama papa parent parents brother brothers sister sisters cousin uncle aunt niece nephew grandma grandpa
			grandmother grandfather grandson granddaughter grandchild lawyer attorney doctor boss manager landlord tenant coworker
			colleague roommate witness witnesses police officer cop insurer agent realtor mechanic garage shop company passenger party
			pedestrian cyclist client customer employee employer teacher priest fella dude kidnapper thief`,
	} {
		for _, w := range strings.Fields(list) {
			out[w] = who
		}
	}
	return out
}()

// Who is meant.
var (
	foreign   = setOf("his her their your whose the that this ex former late step") // before "wife": not the caller's
	otherThan = setOf("driver car vehicle truck van suv guy person party one lady man woman side")
	saying    = setOf("said says say told tells claimed claims replied answered shouted yelled screamed goes")
	saidTo    = setOf("me us him her them that like to and was i m") // between "told" and what was told
	asking    = setOf("please need tell give provide confirm spell have")
)

// What is so, and what is not.
var (
	negators = setOf(`not no never cannot without nobody none nothing nor neither hardly dont isnt wasnt cant wont didnt doesnt aint havent
		hasnt arent couldnt wouldnt instead unlike except formerly`)
	conditions  = setOf("if whether unless until suppose wish hope")
	subjects    = setOf("i we he she they it you this")                                                                                             // begin a clause of their own
	complements = setOf("think know sure believe if whether that say said mean remember recall certain guess suppose")                              // unless one of these is before
	replies     = setOf("i we it my our that this he she they the sorry thanks thank actually wait problem rush worries doubt wonder im its thats") // after a "no" that denies nothing
	auxiliaries = setOf("am is are was were do does did have has isn aren don doesn didn wasn haven hasn")
	copulas     = setOf("am is are was were isn aren wasn weren")
	defining    = setOf("a an the my our mine right correct it") // after "is not": another thing than this
	yeses       = setOf("yes yeah yep yup correct right sure exactly absolutely definitely indeed")
	noes        = setOf("no nope nah not never")
	correcting  = setOf("no sorry actually rather correction wait make mean meant")
	corrected   = setOf("i it is s my our the that name names should be last first a about to") // between "sorry" and the right word
)

// Numbers, addresses and cars.
var (
	repeats      = map[string]int{"double": 2, "triple": 3}
	symbols      = map[string]string{"at": "@", "dot": ".", "point": ".", "underscore": "_", "dash": "-", "hyphen": "-", "minus": "-", "plus": "+"}
	vehicleWords = phrases("car|vehicle|truck|van|suv|sedan|model|year")
	articles     = setOf("a an the my our")
	parting      = setOf("sold traded scrapped rid") // "I sold the", "we got rid of the"
	meanwhile    = setOf("have ve had just already also since then finally recently got")
	units        = setOf("dollars bucks cents miles feet points people days weeks years times")
	apart        = setOf(`when while as then because by from with at near behind into against after before
		hit struck crashed collided ended ran backed slammed bumped clipped sideswiped rammed rear boned cut swerved`)  // "my" and "drive" are said of nothing behind one of these
)

// Names.
var (
	namings       = phrases("name is|name s|name was|surname is|surname s|my name|first name|last name|full name|family name")
	introductions = phrases("i am|i m|im|this is|call me|go by")
	itIs          = phrases("it is|it s")
	presenting    = setOf("here speaking calling") // after a name
	greetings     = setOf("hi hello hey")
	titles        = setOf("mr mrs ms miss dr doctor sir madam")
	particles     = setOf("de la van von der den del di da do dos al el bin ibn y e du le st mac mc") // small words inside a name
	tags          = setOf("right correct i m am speaking talking with to is it you there again huh")
	kindOf        = setOf("full first last given legal middle real own complete whole family")  // between "my" and "name"
	bare          = setOf("and so well hi hello hey the a full yes sure ok okay but then also") // before "name is": nobody's in particular
	notNames      = setOf(`not no never yes yeah ok okay sure sorry just calling here fine good great very really so too well still also now there
		going looking trying having wondering interested happy glad afraid angry upset frustrated ridiculous correct right wrong incorrect
		misspelled spelled misspelt spelt listed missing changed different hard easy long short on off from about regarding under over near between what
		who where when why how which if whether hello hi hey thank thanks please oh god my mine ours us them him
		monday tuesday wednesday thursday friday saturday sunday today tomorrow yesterday
		american canadian mexican british english irish scottish french german italian spanish chinese japanese indian korean russian
		polish african asian european australian brazilian cuban jewish muslim catholic hindu buddhist
		bank insurance company claims one two three first second`)
)

// Words that say little.
var (
	opening = setOf(`yes yeah yep yup sure ok okay of course um uh er well hi hello hey so and it is s that would be will ll my the oh thanks thank you
		please certainly absolutely no problem alright all right good morning afternoon evening spelled spelt`)  // before an answer
	fillers = setOf("uh um er well like just so then")
	empty   = setOf(`a an the of and or is are was were be am to in on at for with by my your his her their our i me he she it we you they
		that this has have had s m re ve ll caller`)
)

// private words make a memory one of health, faith, origin, politics or love
// life, which are not remembered; so do privateKeys in its name.
var (
	private = setOf(`health medical medicine medication diabetes diabetic cancer tumor pregnant pregnancy hiv aids asthma depression
		depressed anxiety disability disabled disease illness sick surgery hospital hospitalized diagnosis diagnosed therapy therapist
		psychiatrist chemo stroke epilepsy seizure injury injured injuries concussion bruise bruises fracture fractured wheelchair
		allergy allergic prescription addiction alcoholic rehab miscarriage abortion symptom symptoms pain
		religion religious christian catholic protestant muslim islam jewish hindu buddhist atheist church mosque synagogue
		race racial ethnicity ethnic republican democrat gay lesbian bisexual transgender sexuality sexual`)
	privateKeys = setOf("health medical religion race ethnicity politics sexuality disability diagnosis medication")
)
