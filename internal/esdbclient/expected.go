package main

import (
	"regexp"
	"slices"
	"strings"
)

// needs say what a test wants of its server.
type needs uint8

const (
	secureOnly   needs = 1 << iota // is not run, or skips itself, without TLS
	insecureOnly                   // is run without TLS only
	seededStream                   // wants a server with 6,000 events
	certificate                    // shows a client certificate beside the password, which docket passes over
	skipsItself                    // in the mode that is not its own, rather than not being there
)

// group is a folder of tests in the client's own order.
type group struct {
	name  string // TestStreams/AppendTests
	tests []test
}

type test struct {
	name   string
	needs  needs
	cannot string // why it cannot pass here; it is not run
}

// Why tests cannot pass.
const (
	ofTheImage = "compares ids, times and log positions with those of a published database image"
	ofACluster = "wants three nodes, of which one is a follower"
	ofAPlugIn  = "wants a client certificate to be checked, which a licensed plug-in of EventStoreDB does; docket knows users and passwords"
)

// expected names every test of the client that needs a server.
var expected = []group{
	{"TestStreams/ClusterTests", []test{
		{"notLeaderExceptionButWorkAfterRetry", 0, ofACluster},
	}},
	{"TestStreams/AppendTests", []test{
		{"appendToStreamSingleEventNoStream", 0, ""},
		{"appendWithInvalidStreamRevision", 0, ""},
		{"appendToSystemStreamWithIncorrectCredentials", secureOnly | skipsItself, ""},
		{"metadataOperation", 0, ""},
	}},
	{"TestStreams/ReadStreamTests", []test{
		{"readStreamEventsForwardsFromZeroPosition", 0, ofTheImage},
		{"readStreamEventsBackwardsFromEndPosition", 0, ofTheImage},
		{"readStreamReturnsEOFAfterCompletion", 0, ""},
		{"readStreamNotFound", 0, ""},
		{"readStreamWithMaxAge", 0, ""},
		{"readStreamWithCredentialsOverride", secureOnly | skipsItself, ""},
	}},
	{"TestStreams/SubscriptionTests", []test{
		{"streamSubscriptionDeliversAllEventsInStreamAndListensForNewEvents", seededStream, ""},
		{"allSubscriptionWithFilterDeliversCorrectEvents", 0, ofTheImage},
		{"subscriptionAllFilter", 0, ""},
		{"connectionClosing", seededStream, ""},
		{"subscriptionAllWithCredentialsOverride", seededStream, ""},
		{"subscriptionToStreamCaughtUpMessage", seededStream, ""},
	}},
	{"TestStreams/DeleteTests", []test{
		{"canDeleteStream", 0, ""},
		{"canTombstoneStream", 0, ""},
		{"detectStreamDeleted", 0, ""},
	}},
	{"TestStreams/ConnectionTests", []test{
		{"closeConnection", 0, ""},
	}},
	{"TestStreams/TLSTests", []test{
		{"Default", secureOnly, ""},
		{"DefaultsWithCertificate", secureOnly, ""},
		{"WithoutCertificateAndVerify", secureOnly, ""},
		{"testTLSWithoutCertificate(", secureOnly, ""},
		{"WithCertificate", secureOnly, ""},
		{"WithCertificateFromAbsoluteFile", secureOnly, ""},
		{"WithCertificateFromRelativeFile", secureOnly, ""},
		{"WithInvalidCertificate", secureOnly, ""},
	}},
	{"TestStreams/AuthenticationTests", []test{
		{"callWithTLSAndDefaultCredentials", secureOnly, ""},
		{"callWithTLSAndOverrideCredentials", secureOnly, ""},
		{"callWithTLSAndInvalidOverrideCredentials", secureOnly, ""},
		{"callInsecureWithoutCredentials", insecureOnly, ""},
		{"callInsecureWithInvalidCredentials", insecureOnly, ""},
	}},
	{"TestPersistentSubscriptions/PersistentSubReadTests", []test{
		{"ReadExistingStream_AckToReceiveNewEvents", 0, ""},
		{"ToExistingStream_StartFromBeginning_AndEventsInIt", 0, ""},
		{"ToNonExistingStream_StartFromBeginning_AppendEventsAfterwards", 0, ""},
		{"ToExistingStream_StartFromEnd_EventsInItAndAppendEventsAfterwards", 0, ""},
		{"ToExistingStream_StartFromEnd_EventsInIt", 0, ""},
		{"ToNonExistingStream_StartFromTwo_AppendEventsAfterwards", 0, ""},
		{"ToExistingStream_StartFrom10_EventsInItAppendEventsAfterwards", 0, ""},
		{"ToExistingStream_StartFrom4_EventsInIt", 0, ""},
		{"ToExistingStream_StartFromHigherRevisionThenEventsInStream_EventsInItAppendEventsAfterwards", 0, ""},
		{"ReadExistingStream_NackToReceiveNewEvents", 0, ""},
		{"persistentSubscriptionToAll_Read", 0, ""},
	}},
	{"TestPersistentSubscriptions/PersistentSubTests", []test{
		{"createPersistentStreamSubscription", 0, ""},
		{"createPersistentStreamSubscription_MessageTimeoutZero", 0, ""},
		{"createPersistentStreamSubscription_StreamNotExits", 0, ""},
		{"createPersistentStreamSubscription_FailsIfAlreadyExists", 0, ""},
		{"createPersistentStreamSubscription_AfterDeleting", 0, ""},
		{"updatePersistentStreamSubscription", 0, ""},
		{"updatePersistentStreamSubscription_ErrIfSubscriptionDoesNotExist", 0, ""},
		{"deletePersistentStreamSubscription", 0, ""},
		{"deletePersistentSubscription_ErrIfSubscriptionDoesNotExist", 0, ""},
		{"testPersistentSubscriptionClosing", seededStream, ""},
		{"persistentAllCreate", 0, ""},
		{"persistentAllUpdate", 0, ""},
		{"persistentAllDelete", 0, ""},
		{"persistentListAllSubs", 0, ""},
		{"persistentListAllSubsWithCredentialsOverride", 0, ""},
		{"persistentReplayParkedMessages", 0, ""},
		{"persistentReplayParkedMessagesWithCredentialsOverride", 0, ""},
		{"persistentReplayParkedMessagesToAll", 0, ""},
		{"persistentListSubsForStream", 0, ""},
		{"persistentListSubsToAll", 0, ""},
		{"persistentGetInfo", 0, ""},
		{"persistentGetInfoWithCredentialsOverride", 0, ""},
		{"persistentGetInfoToAll", 0, ""},
		{"persistentGetInfoEncoding", 0, ""},
		{"persistentRestartSubsystem", 0, ""},
	}},
	{"TestProjections/ProjectionTests", []test{
		{"createProjection", 0, ""},
		{"deleteProjection", 0, ""},
		{"updateProjection", 0, ""},
		{"enableProjection", 0, ""},
		{"disableProjection", 0, ""},
		{"resetProjection", 0, ""},
		{"getStateProjection", 0, ""},
		{"getResultProjection", 0, ""},
	}},
	{"TestExpectations/ReadAllTests", []test{
		{"readAllEventsForwardsFromZeroPosition(", 0, ofTheImage},
		{"readAllEventsForwardsFromNonZeroPosition", 0, ofTheImage},
		{"readAllEventsBackwardsFromZeroPosition", 0, ofTheImage},
		{"readAllEventsBackwardsFromNonZeroPosition", 0, ofTheImage},
		{"readAllEventsWithCredentialsOverride", seededStream, ""},
	}},
	{"TestPlugins/AuthenticationTests", []test{
		{"ValidClientCertificatesTlsRelativePath", secureOnly | certificate, ""},
		{"ValidClientCertificatesTlsWithAbsolutePath", secureOnly | certificate, ""},
		{"InvalidUserCertificates", 0, ofAPlugIn},
		{"MissingCertificateFile", secureOnly | certificate, ""},
	}},
}

// in tells what a test should come to in a mode: "pass", "skip", or empty when
// it should not be there.
func (t test) in(m mode) string {
	switch {
	case t.cannot != "",
		m == insecure && t.needs&(secureOnly|skipsItself) == secureOnly,
		m == secure && t.needs&insecureOnly != 0:
		return ""
	case m == insecure && t.needs&secureOnly != 0:
		return "skip"
	}
	return "pass"
}

// functions matches the test functions that are run in a mode, for go test -run.
func functions(m mode) string {
	var all []string
	for _, g := range expected {
		function, _, _ := strings.Cut(g.name, "/")
		wanted := slices.ContainsFunc(g.tests, func(t test) bool { return t.in(m) != "" })
		if pattern := exactly(function); wanted && !slices.Contains(all, pattern) {
			all = append(all, pattern)
		}
	}
	return strings.Join(all, "|")
}

// hopeless matches the tests that cannot pass, for go test -skip.
func hopeless() string {
	var all []string
	for _, g := range expected {
		for _, t := range g.tests {
			if t.cannot != "" {
				all = append(all, exactly(g.name+"/"+t.name))
			}
		}
	}
	return strings.Join(all, "|")
}

// exactly matches one test by its full name.
func exactly(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}
