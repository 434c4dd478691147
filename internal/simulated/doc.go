// Package simulated holds the outside world as servers on the wire: Twilio's
// REST API, an OpenAI-compatible model, and Twilio with a caller on the line.
// They speak the true protocols, with latency and faults to order, and import
// nothing of ours, so that the code under test is the code that runs live.
// Whatever the stand-in model makes is made by rules from the conversation.
package simulated
