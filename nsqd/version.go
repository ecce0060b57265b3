package nsqd

import "nsqraft/internal/version"

// Version is what nsqd tells clients, nsqlookupd and nsqadmin.
const Version = version.Version
