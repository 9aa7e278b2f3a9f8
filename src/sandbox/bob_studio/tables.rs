//! Bob Studio's records as data, and their tables.

/// Describes one kind of record.
pub(super) struct Record {
    pub table: &'static str,
    /// Its name in sentences.
    pub name: &'static str,
    pub whose: Whose,
    /// Its columns in shown order, separated by spaces, named as the fields on the wire.
    pub fields: &'static str,
    /// The fields that are true or false.
    pub flags: &'static [&'static str],
    /// The fields that hold JSON.
    pub json: &'static [&'static str],
}

/// Who sees a record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Keys of its company, and keys of the workspace.
    Company,
    /// All keys of the workspace.
    Workspace,
    /// Its user, with a key of the workspace.
    User,
}

impl Whose {
    /// Returns the condition on workspace (`?1`), company (`?2`, null for all) and user (`?3`); it uses all three.
    pub fn reach(self) -> &'static str {
        match self {
            Self::Company => "workspaceId = ?1 AND (?2 IS NULL OR companyId = ?2) AND ?3 IS NOT NULL",
            Self::Workspace => "workspaceId = ?1 AND coalesce(?2, ?3) IS NOT NULL",
            Self::User => "workspaceId = ?1 AND ?2 IS NULL AND userId = ?3",
        }
    }
}

const PLAIN: Record =
    Record { table: "", name: "", whose: Whose::Company, fields: "", flags: &[], json: &[] };

pub(super) const COMPANY: Record =
    Record { table: "bob_company", name: "company", fields: "id name", ..PLAIN };
pub(super) const MEMBER: Record =
    Record { table: "bob_member", name: "member", whose: Whose::Workspace, fields: "id name email", ..PLAIN };
pub(super) const CLIENT: Record = Record {
    table: "bob_client",
    name: "client",
    fields: "id companyName firstName lastName email phone vatNumber address postalCode city country \
        companyId createdAt updatedAt",
    ..PLAIN
};
pub(super) const PROJECT: Record = Record {
    table: "bob_project",
    name: "project",
    fields: "id name status description clientId companyId startDate endDate budget currency \
        estimatedHours notes taskPrefix createdAt updatedAt",
    ..PLAIN
};
pub(super) const TASK: Record = Record {
    table: "bob_task",
    name: "task",
    fields: "id title description status priority estimatedHours actualHours dueDate sortOrder \
        projectId parentTaskId companyId assigneeIds isPrivate createdAt updatedAt",
    flags: &["isPrivate"],
    json: &["assigneeIds"],
    ..PLAIN
};
pub(super) const COMMENT: Record = Record {
    table: "bob_comment",
    name: "comment",
    whose: Whose::Workspace,
    fields: "id author text createdAt",
    ..PLAIN
};
pub(super) const OFFER: Record = Record {
    table: "bob_offer",
    name: "offer",
    fields: "id number status subject description clientId companyId offerDate validUntil currency \
        notes createdAt updatedAt",
    ..PLAIN
};
pub(super) const INVOICE: Record = Record {
    table: "bob_invoice",
    name: "invoice",
    fields: "id number status subject description clientId companyId projectId invoiceDate dueDate \
        currency notes paymentMethod createdAt updatedAt",
    ..PLAIN
};
pub(super) const IDEA: Record = Record {
    table: "bob_idea",
    name: "idea",
    fields: "id title description estimatedBudget currency priority notes companyId clientId createdAt \
        updatedAt",
    ..PLAIN
};
pub(super) const CONTACT: Record = Record {
    table: "bob_contact",
    name: "contact",
    fields: "id companyName contactName email phone website address city country source status notes \
        nextFollowUp companyId createdAt updatedAt",
    ..PLAIN
};
pub(super) const RECORDING: Record = Record {
    table: "bob_recording",
    name: "recording",
    whose: Whose::User,
    fields: "id title durationSeconds summary actionItems notes transcription createdAt",
    json: &["actionItems"],
    ..PLAIN
};
pub(super) const CATEGORY: Record = Record {
    table: "bob_category",
    name: "time category",
    whose: Whose::Workspace,
    fields: "id name isActive",
    flags: &["isActive"],
    ..PLAIN
};
pub(super) const TIME_LOG: Record = Record {
    table: "bob_time_log",
    name: "time log",
    whose: Whose::User,
    fields: "id date startTime endTime taskId categoryId projectId description isBillable hourlyRate \
        createdAt updatedAt",
    flags: &["isBillable"],
    ..PLAIN
};
pub(super) const CALENDAR: Record = Record {
    table: "bob_calendar",
    name: "calendar",
    whose: Whose::User,
    fields: "id name isDefault",
    flags: &["isDefault"],
    ..PLAIN
};
pub(super) const APPOINTMENT: Record = Record {
    table: "bob_appointment",
    name: "appointment",
    whose: Whose::User,
    fields: "id title date startTime endTime isAllDay clientName clientEmail clientPhone location \
        address onlinePlatform onlineLink notes status projectId calendarId createdAt updatedAt",
    flags: &["isAllDay"],
    ..PLAIN
};
pub(super) const BOOKING: Record = Record {
    table: "bob_booking",
    name: "booking page",
    whose: Whose::User,
    fields: "id slug isActive slotDuration bufferMinutes weeklyHours maxDaysAhead minimumNoticeMinutes \
        welcomeMessage locationType locationAddress bookingCalendarId companyId createdAt \
        updatedAt",
    flags: &["isActive"],
    json: &["weeklyHours"],
};

/// The fields that hold ids of other records.
pub(super) const LINKS: &[(&str, &Record)] = &[
    ("companyId", &COMPANY),
    ("clientId", &CLIENT),
    ("projectId", &PROJECT),
    ("taskId", &TASK),
    ("parentTaskId", &TASK),
    ("assigneeIds", &MEMBER),
    ("categoryId", &CATEGORY),
    ("calendarId", &CALENDAR),
    ("bookingCalendarId", &CALENDAR),
];

/// A company's `companyId` is its own id, so that [`Whose::Company`] holds for it, too.
pub(super) const SCHEMA: &str = "
CREATE TABLE bob_workspace (id TEXT PRIMARY KEY, userId TEXT NOT NULL REFERENCES account (user_id), name TEXT NOT NULL);
CREATE TABLE bob_company (
    id TEXT PRIMARY KEY, workspaceId TEXT NOT NULL REFERENCES bob_workspace, name TEXT NOT NULL,
    companyId TEXT GENERATED ALWAYS AS (id)
);
CREATE TABLE bob_member (
    id TEXT PRIMARY KEY, workspaceId TEXT NOT NULL REFERENCES bob_workspace, name TEXT NOT NULL, email TEXT NOT NULL
);
CREATE TABLE bob_client (
    id TEXT PRIMARY KEY, workspaceId TEXT NOT NULL REFERENCES bob_workspace,
    companyId TEXT REFERENCES bob_company, companyName TEXT NOT NULL, firstName TEXT, lastName TEXT, email TEXT,
    phone TEXT, vatNumber TEXT, address TEXT, postalCode TEXT, city TEXT, country TEXT,
    createdAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updatedAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE TABLE bob_project (
    id TEXT PRIMARY KEY, workspaceId TEXT NOT NULL REFERENCES bob_workspace,
    companyId TEXT REFERENCES bob_company, clientId TEXT REFERENCES bob_client, name TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'in_progress', description TEXT, startDate TEXT, endDate TEXT, budget NUMERIC,
    currency TEXT NOT NULL DEFAULT 'EUR', estimatedHours NUMERIC, notes TEXT, taskPrefix TEXT,
    createdAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updatedAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE TABLE bob_task (
    id TEXT PRIMARY KEY, workspaceId TEXT NOT NULL REFERENCES bob_workspace,
    companyId TEXT REFERENCES bob_company, projectId TEXT REFERENCES bob_project,
    parentTaskId TEXT REFERENCES bob_task, title TEXT NOT NULL, description TEXT,
    status TEXT NOT NULL DEFAULT 'todo', priority TEXT NOT NULL DEFAULT 'medium', estimatedHours NUMERIC,
    actualHours NUMERIC, dueDate TEXT, sortOrder INTEGER NOT NULL DEFAULT 0,
    assigneeIds TEXT NOT NULL DEFAULT '[]', isPrivate INTEGER NOT NULL DEFAULT 0,
    createdAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updatedAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE INDEX bob_task_parent ON bob_task (parentTaskId);
CREATE TABLE bob_comment (
    id TEXT PRIMARY KEY, workspaceId TEXT NOT NULL REFERENCES bob_workspace,
    taskId TEXT NOT NULL REFERENCES bob_task, author TEXT NOT NULL, text TEXT NOT NULL,
    createdAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE TABLE bob_offer (
    id TEXT PRIMARY KEY, workspaceId TEXT NOT NULL REFERENCES bob_workspace,
    companyId TEXT REFERENCES bob_company, clientId TEXT REFERENCES bob_client, number INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT 'draft', subject TEXT, description TEXT, offerDate TEXT, validUntil TEXT,
    currency TEXT NOT NULL DEFAULT 'EUR', notes TEXT,
    createdAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updatedAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE TABLE bob_invoice (
    id TEXT PRIMARY KEY, workspaceId TEXT NOT NULL REFERENCES bob_workspace,
    companyId TEXT REFERENCES bob_company, clientId TEXT REFERENCES bob_client,
    projectId TEXT REFERENCES bob_project, number INTEGER NOT NULL, status TEXT NOT NULL DEFAULT 'draft',
    subject TEXT, description TEXT, invoiceDate TEXT, dueDate TEXT, currency TEXT NOT NULL DEFAULT 'EUR', notes TEXT,
    paymentMethod TEXT,
    createdAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updatedAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE TABLE bob_idea (
    id TEXT PRIMARY KEY, workspaceId TEXT NOT NULL REFERENCES bob_workspace,
    companyId TEXT REFERENCES bob_company, clientId TEXT REFERENCES bob_client, title TEXT NOT NULL,
    description TEXT, estimatedBudget NUMERIC, currency TEXT NOT NULL DEFAULT 'EUR',
    priority TEXT NOT NULL DEFAULT 'medium', notes TEXT,
    createdAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updatedAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE TABLE bob_contact (
    id TEXT PRIMARY KEY, workspaceId TEXT NOT NULL REFERENCES bob_workspace,
    companyId TEXT REFERENCES bob_company, companyName TEXT, contactName TEXT, email TEXT, phone TEXT, website TEXT,
    address TEXT, city TEXT, country TEXT, source TEXT, status TEXT, notes TEXT, nextFollowUp TEXT,
    createdAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updatedAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE TABLE bob_recording (
    id TEXT PRIMARY KEY, workspaceId TEXT NOT NULL REFERENCES bob_workspace, userId TEXT NOT NULL,
    title TEXT NOT NULL, durationSeconds INTEGER NOT NULL, summary TEXT, actionItems TEXT NOT NULL DEFAULT '[]',
    notes TEXT, transcription TEXT,
    createdAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE TABLE bob_category (
    id TEXT PRIMARY KEY, workspaceId TEXT NOT NULL REFERENCES bob_workspace, name TEXT NOT NULL,
    isActive INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE bob_time_log (
    id TEXT PRIMARY KEY, workspaceId TEXT NOT NULL REFERENCES bob_workspace, userId TEXT NOT NULL,
    date TEXT NOT NULL, startTime TEXT NOT NULL, endTime TEXT NOT NULL, taskId TEXT REFERENCES bob_task,
    categoryId TEXT REFERENCES bob_category, projectId TEXT REFERENCES bob_project, description TEXT,
    isBillable INTEGER NOT NULL, hourlyRate NUMERIC,
    createdAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updatedAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    CHECK ((taskId IS NULL) <> (categoryId IS NULL)), CHECK (projectId IS NULL OR categoryId IS NOT NULL)
);
CREATE TABLE bob_calendar (
    id TEXT PRIMARY KEY, workspaceId TEXT NOT NULL REFERENCES bob_workspace, userId TEXT NOT NULL,
    name TEXT NOT NULL, isDefault INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE bob_appointment (
    id TEXT PRIMARY KEY, workspaceId TEXT NOT NULL REFERENCES bob_workspace, userId TEXT NOT NULL,
    title TEXT, date TEXT NOT NULL, startTime TEXT NOT NULL, endTime TEXT NOT NULL,
    isAllDay INTEGER NOT NULL DEFAULT 0, clientName TEXT, clientEmail TEXT, clientPhone TEXT, location TEXT,
    address TEXT, onlinePlatform TEXT, onlineLink TEXT, notes TEXT, status TEXT NOT NULL DEFAULT 'scheduled',
    projectId TEXT REFERENCES bob_project, calendarId TEXT REFERENCES bob_calendar,
    createdAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updatedAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE TABLE bob_booking (
    id TEXT PRIMARY KEY, workspaceId TEXT NOT NULL REFERENCES bob_workspace, userId TEXT NOT NULL UNIQUE,
    slug TEXT NOT NULL, isActive INTEGER NOT NULL DEFAULT 0, slotDuration INTEGER NOT NULL DEFAULT 30,
    bufferMinutes INTEGER NOT NULL DEFAULT 0, weeklyHours TEXT NOT NULL DEFAULT '{}',
    maxDaysAhead INTEGER NOT NULL DEFAULT 60, minimumNoticeMinutes INTEGER NOT NULL DEFAULT 60, welcomeMessage TEXT,
    locationType TEXT NOT NULL DEFAULT 'none', locationAddress TEXT, bookingCalendarId TEXT REFERENCES bob_calendar,
    companyId TEXT REFERENCES bob_company,
    createdAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updatedAt TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
";
