package main

// patchFolder is where the patches are, below the root.
const patchFolder = "internal/plantedbugs/bugs"

// bug is a patch and the tests that should notice it.
type bug struct {
	patch string // without .patch
	tests
	hangs bool // what it makes of the tests is that they never end
}

// bugs is the table. Patterns are narrow, so that all of it takes minutes.
var bugs = []bug{
	{"conflict-unchecked", tests{pkg: "./eventstore/sqlite", pattern: "^TestConformance$/^(Append|Race)"}, false},
	{"last-event-dropped", tests{pkg: "./eventstore/sqlite", pattern: "^TestConformance$/^(Append|Race)"}, false},
	{"repeat-appended-again", tests{pkg: "./eventstore/sqlite", pattern: "^TestConformance$/^(Append|Race)"}, false},
	{"tombstone-ignored", tests{pkg: "./eventstore/sqlite", pattern: "^TestConformance$/^Tombstone"}, false},
	{"checksum-unchecked", tests{pkg: "./eventstore/sqlite", pattern: "^TestFlippedByte$"}, false},
	{"writer-goes-on", tests{pkg: "./eventstore/sqlite", pattern: "^TestPoisonedWriter$"}, false},
	{"shorter-log-accepted", tests{pkg: "./eventstore/sqlite", pattern: "^Test(ShorterLog|TornWAL)$"}, false},
	{"synchronous-normal", tests{pkg: "./eventstore/sqlite", pattern: "^TestAcknowledgedIsSynced$"}, false},
	{"directory-not-synced", tests{pkg: "./eventstore/sqlite", pattern: "^TestAcknowledgedIsSynced$"}, false},
	{"acknowledged-before-commit", tests{pkg: "./eventstore/sqlite", pattern: "^TestAcknowledgedIsSynced$"}, false},
	{"head-before-commit", tests{pkg: "./eventstore/sqlite", pattern: "^TestAcknowledgedIsSynced$"}, false},

	{"tail-read-again", tests{pkg: "./command", pattern: "^TestNoLostUpdate$"}, false},
	{"decided-beside-each-other", tests{pkg: "./command", pattern: "^Test(ThoseWhoWaitTogetherAreAppendedTogether|GroupsAnswerAsOneAtATime)$"}, false},
	{"snapshot-unvouched", tests{pkg: "./command", pattern: "^TestUselessSnapshots$"}, false},
	{"key-with-another-body", tests{pkg: "./command", pattern: "^TestRepeatedKeyHasOneEffectAndOneAnswer$"}, false},
	{"stale-cache-refuses", tests{pkg: "./command", pattern: "^TestStaleCacheNeverDecidesARefusal$"}, false},
	{"doubt-called-failure", tests{pkg: "./command", pattern: "^TestDoubtIsNeverCalledAFailure$"}, false},
	{"recordedat-goes-back", tests{pkg: "./command", pattern: "^TestRecordedAtNeverDecreases$"}, false},

	{"applied-twice", tests{pkg: "./projections", pattern: "^TestFoldOrder$"}, false},
	{"checkpoint-too-early", tests{pkg: "./projections", pattern: "^TestStoppedBeforeItWasWritten$"}, false},
	{"poison-skipped", tests{pkg: "./projections", pattern: "^TestFoldOrder$"}, false},
	{"switch-before-caught-up", tests{pkg: "./projections", pattern: "^TestRebuiltShowsWhatTheOldOneShowed$"}, false},
	{"contribution-of-the-new", tests{pkg: "./projections/sqlite", pattern: "^TestConformance$/^counters_follow"}, false},
	{"cursor-skips-ties", tests{pkg: "./projections/sqlite", pattern: "^TestConformance$/^walks_visit"}, false},

	{"token-one-behind", tests{pkg: "./query", pattern: "^TestTokenIsBehind$"}, false},
	{"as-of-not-settled", tests{pkg: "./query", pattern: "^TestAsOfWaitsForWhatIsBeingRecorded$"}, false},
	{"repair-believed", tests{pkg: "./reconcile", pattern: "^TestRepairDoesNotHideABug$"}, false},
	{"parts-share-a-key", tests{pkg: "./importer", pattern: "^TestInterrupted$"}, false},
	{"unknown-outcome-is-500", tests{pkg: "./httpapi", pattern: "^TestFailuresAreTold$"}, false},

	{"id-of-another-decision", tests{pkg: "./command", pattern: "^TestOneKeyInTwoProcesses$"}, false},
	{"lost-answer-called-unwritten", tests{pkg: "./eventstore/esdb", pattern: "^TestLostAnswers$"}, false},
	{"live-event-twice", tests{pkg: "./eventstore/esdbserver/internal/reading", pattern: "^TestFollowersOfAllSpeedsSeeTheSame$"}, false},
	{"checkpoint-past-unfinished", tests{pkg: "./eventstore/esdbserver/internal/groups/competing", pattern: "^TestModel$"}, false},
	{"access-list-unread", tests{pkg: "./eventstore/esdbserver/internal/access", pattern: "^TestRules$"}, false},
	{"walk-without-its-instant", tests{pkg: "./docs/examples/waiting", pattern: "^TestFromEmptyToSwitched$/^sqlite$"}, false},
	{"move-not-compared", tests{pkg: "./eventstore/transfer", pattern: "^Test(Verified|TargetsThatDiffer)$"}, false},
}
