package datastoretest

var modelEntryTests = []conformanceTest{}
