//! What each element of a CIB may hold: one row an element. The numbers are those of the third family: `since(7)` is of
//! pacemaker-3.7 and later.

/// What an attribute's value has to be.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// Unique in the document.
    Id,
    /// The form of an id. Whether it names something is not a matter of grammar.
    Reference,
    Boolean,
    Integer,
    Natural,
    Positive,
    Score,
    /// One of these words, each with the schema that brought it.
    OneOf(&'static [(&'static str, u8)]),
    /// Ids with commas between them.
    Ids,
    /// Port numbers, as 8000-8010.
    Ports,
}

pub(super) struct Attribute {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) required: bool,
    pub(super) since: u8,
}

pub(super) struct Child {
    pub(super) name: &'static str,
    pub(super) required: bool,
    pub(super) many: bool,
    pub(super) since: u8,
}

pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) attributes: &'static [Attribute],
    pub(super) children: &'static [Child],
    /// Of each group of alternatives exactly one holds. An alternative names attributes and children; those with `?` need not be
    /// there.
    pub(super) choices: &'static [&'static [&'static [&'static str]]],
    /// Children that have to come in this order.
    pub(super) order: &'static [&'static str],
}

const fn need(name: &'static str, kind: Kind) -> Attribute {
    Attribute { name, kind, required: true, since: 0 }
}

const fn may(name: &'static str, kind: Kind) -> Attribute {
    Attribute { name, kind, required: false, since: 0 }
}

impl Attribute {
    const fn since(mut self, schema: u8) -> Self {
        self.since = schema;
        self
    }
}

const fn one(name: &'static str) -> Child {
    Child { name, required: true, many: false, since: 0 }
}

const fn at_most_one(name: &'static str) -> Child {
    Child { name, required: false, many: false, since: 0 }
}

const fn any(name: &'static str) -> Child {
    Child { name, required: false, many: true, since: 0 }
}

const fn some(name: &'static str) -> Child {
    Child { name, required: true, many: true, since: 0 }
}

impl Child {
    const fn since(mut self, schema: u8) -> Self {
        self.since = schema;
        self
    }
}

impl Shape {
    const fn new(name: &'static str, attributes: &'static [Attribute], children: &'static [Child]) -> Self {
        Self { name, attributes, children, choices: &[], order: &[] }
    }

    const fn either(mut self, choices: &'static [&'static [&'static [&'static str]]]) -> Self {
        self.choices = choices;
        self
    }

    const fn in_order(mut self, order: &'static [&'static str]) -> Self {
        self.order = order;
        self
    }
}

use Kind::{Boolean, Id, Ids, Integer, Natural, OneOf, Ports, Positive, Reference, Score, Text};

const ROLES: Kind =
    OneOf(&[("Stopped", 0), ("Started", 0), ("Promoted", 7), ("Unpromoted", 7), ("Master", 0), ("Slave", 0)]);
const ACTIONS: Kind = OneOf(&[("start", 0), ("promote", 0), ("demote", 0), ("stop", 0)]);
const ORDER_KINDS: Kind = OneOf(&[("Optional", 0), ("Mandatory", 0), ("Serialize", 0)]);
const SOURCES: Kind = OneOf(&[("literal", 0), ("param", 0), ("meta", 0)]);
const OPERATIONS: Kind = OneOf(&[
    ("lt", 0),
    ("gt", 0),
    ("lte", 0),
    ("gte", 0),
    ("eq", 0),
    ("ne", 0),
    ("defined", 0),
    ("not_defined", 0),
]);

/// Options in blocks, or the name of such a block elsewhere.
const BLOCK: &[Attribute] = &[may("id-ref", Reference), may("id", Id), may("score", Score)];
const BLOCK_CHILDREN: &[Child] = &[at_most_one("rule"), any("nvpair")];
const BLOCK_CHOICE: &[&[&[&str]]] = &[&[&["id-ref"], &["id", "?score", "?rule", "?nvpair"]]];

const BLOCKS: &[Child] = &[any("meta_attributes"), any("instance_attributes")];
const PRIMITIVE: &[Attribute] = &[
    need("id", Id),
    may("class", AGENT_CLASSES),
    may("provider", Text),
    may("type", Text),
    may("template", Reference),
    may("description", Text),
];
const PRIMITIVE_CHILDREN: &[Child] =
    &[any("meta_attributes"), any("instance_attributes"), at_most_one("operations"), any("utilization")];
const AGENT_CLASSES: Kind = OneOf(&[
    ("ocf", 0),
    ("lsb", 0),
    ("heartbeat", 0),
    ("stonith", 0),
    ("upstart", 0),
    ("service", 0),
    ("systemd", 0),
    ("nagios", 0),
]);
const CLONE: &[Child] =
    &[any("meta_attributes"), any("instance_attributes"), at_most_one("primitive"), at_most_one("group")];
const RESOURCE: &[Attribute] = &[need("id", Id), may("description", Text)];
const CONTAINER: &[Attribute] = &[
    need("image", Text),
    may("replicas", Integer),
    may("replicas-per-host", Integer),
    may("masters", Integer),
    may("promoted-max", Integer),
    may("run-command", Text),
    may("network", Text),
    may("options", Text),
];
const CONTAINER_CHOICE: &[&[&[&str]]] = &[&[&["?masters"], &["?promoted-max"]]];
const SUBJECT: &[Attribute] = &[need("id", Id), may("name", Text).since(8)];

/// Every element but those of the status, which is free.
pub(super) const SHAPES: &[Shape] = &[
    Shape::new(
        "cib",
        &[
            may("validate-with", Text),
            need("admin_epoch", Natural),
            need("epoch", Natural),
            need("num_updates", Natural),
            may("crm_feature_set", Text),
            may("remote-tls-port", Natural),
            may("remote-clear-port", Natural),
            may("have-quorum", Boolean),
            may("dc-uuid", Text),
            may("cib-last-written", Text),
            may("no-quorum-panic", Boolean),
            may("update-origin", Text),
            may("update-client", Text),
            may("update-user", Text),
            may("execution-date", Text),
        ],
        &[one("configuration"), at_most_one("status")],
    )
    .in_order(&["configuration", "status"]),
    Shape::new(
        "configuration",
        &[],
        &[
            one("crm_config"),
            at_most_one("rsc_defaults"),
            at_most_one("op_defaults"),
            one("nodes"),
            one("resources"),
            one("constraints"),
            at_most_one("fencing-topology"),
            at_most_one("acls"),
            at_most_one("tags"),
            at_most_one("alerts"),
        ],
    ),
    Shape::new("crm_config", &[], &[any("cluster_property_set")]),
    Shape::new("rsc_defaults", &[], &[any("meta_attributes")]),
    Shape::new("op_defaults", &[], &[any("meta_attributes")]),
    Shape::new("cluster_property_set", BLOCK, BLOCK_CHILDREN).either(BLOCK_CHOICE),
    Shape::new("meta_attributes", BLOCK, BLOCK_CHILDREN).either(BLOCK_CHOICE),
    Shape::new("instance_attributes", BLOCK, BLOCK_CHILDREN).either(BLOCK_CHOICE),
    Shape::new("utilization", BLOCK, BLOCK_CHILDREN).either(BLOCK_CHOICE),
    Shape::new(
        "nvpair",
        &[may("id-ref", Reference), may("id", Id), may("name", Text), may("value", Text)],
        &[],
    )
    .either(&[&[&["id", "name", "?value"], &["id-ref", "?name"]]]),
    Shape::new("nodes", &[], &[any("node")]),
    Shape::new(
        "node",
        &[
            need("id", Text),
            need("uname", Text),
            may("type", OneOf(&[("member", 0), ("ping", 0), ("remote", 0)])),
            may("description", Text),
            may("score", Score),
        ],
        &[any("instance_attributes"), any("utilization")],
    ),
    Shape::new(
        "resources",
        &[],
        &[any("primitive"), any("template"), any("group"), any("clone"), any("master"), any("bundle")],
    ),
    Shape::new("primitive", PRIMITIVE, PRIMITIVE_CHILDREN)
        .either(&[&[&["class", "type", "?provider"], &["template"]]]),
    Shape::new("template", PRIMITIVE, PRIMITIVE_CHILDREN).either(&[&[&["class", "type", "?provider"]]]),
    Shape::new("group", RESOURCE, &[any("meta_attributes"), any("instance_attributes"), some("primitive")]),
    Shape::new("clone", RESOURCE, CLONE).either(&[&[&["primitive"], &["group"]]]),
    Shape::new("master", RESOURCE, CLONE).either(&[&[&["primitive"], &["group"]]]),
    Shape::new(
        "bundle",
        RESOURCE,
        &[
            any("meta_attributes"),
            any("instance_attributes"),
            at_most_one("docker"),
            at_most_one("rkt"),
            at_most_one("podman").since(2),
            at_most_one("network"),
            at_most_one("storage"),
            at_most_one("primitive"),
        ],
    )
    .either(&[&[&["podman"], &["docker"], &["rkt"]]]),
    Shape::new("docker", CONTAINER, &[]).either(CONTAINER_CHOICE),
    Shape::new("rkt", CONTAINER, &[]).either(CONTAINER_CHOICE),
    Shape::new("podman", CONTAINER, &[]).either(CONTAINER_CHOICE),
    Shape::new(
        "network",
        &[
            may("ip-range-start", Text),
            may("control-port", Integer),
            may("host-interface", Text),
            may("host-netmask", Integer),
            may("add-host", Boolean),
        ],
        &[any("port-mapping")],
    ),
    Shape::new(
        "port-mapping",
        &[need("id", Id), may("port", Integer), may("internal-port", Integer), may("range", Ports)],
        &[],
    )
    .either(&[&[&["port", "?internal-port"], &["range"]]]),
    Shape::new("storage", &[], &[any("storage-mapping")]),
    Shape::new(
        "storage-mapping",
        &[
            need("id", Id),
            may("source-dir", Text),
            may("source-dir-root", Text),
            need("target-dir", Text),
            may("options", Text),
        ],
        &[],
    )
    .either(&[&[&["source-dir"], &["source-dir-root"]]]),
    Shape::new("operations", &[may("id", Id), may("id-ref", Reference)], &[any("op")]),
    Shape::new(
        "op",
        &[
            need("id", Id),
            need("name", Text),
            need("interval", Text),
            may("description", Text),
            may("start-delay", Text),
            may("interval-origin", Text),
            may("timeout", Text),
            may("enabled", Boolean),
            may("record-pending", Boolean),
            may("role", ROLES),
            may(
                "on-fail",
                OneOf(&[
                    ("ignore", 0),
                    ("block", 0),
                    ("demote", 4),
                    ("stop", 0),
                    ("restart", 0),
                    ("standby", 0),
                    ("fence", 0),
                    ("restart-container", 0),
                ]),
            ),
        ],
        BLOCKS,
    )
    .either(&[&[&["?start-delay"], &["?interval-origin"]]]),
    Shape::new(
        "constraints",
        &[],
        &[any("rsc_location"), any("rsc_colocation"), any("rsc_order"), any("rsc_ticket")],
    ),
    Shape::new(
        "rsc_location",
        &[
            need("id", Id),
            may("rsc", Reference),
            may("rsc-pattern", Text),
            may("role", ROLES),
            may("score", Score),
            may("node", Text),
            may("resource-discovery", OneOf(&[("always", 0), ("never", 0), ("exclusive", 0)])),
        ],
        &[any("resource_set"), any("rule"), at_most_one("lifetime")],
    )
    .either(&[
        &[&["rsc", "?role"], &["rsc-pattern", "?role"], &["resource_set"]],
        &[&["node", "score"], &["rule"]],
    ])
    .in_order(&["resource_set", "rule", "lifetime"]),
    Shape::new(
        "rsc_colocation",
        &[
            need("id", Id),
            may("score", Score),
            may("influence", Text).since(6),
            may("rsc", Reference),
            may("with-rsc", Reference),
            may("node-attribute", Text),
            may("rsc-role", ROLES),
            may("with-rsc-role", ROLES),
        ],
        &[at_most_one("lifetime"), any("resource_set")],
    )
    .either(&[&[&["rsc", "with-rsc", "?node-attribute", "?rsc-role", "?with-rsc-role"], &["resource_set"]]])
    .in_order(&["lifetime", "resource_set"]),
    Shape::new(
        "rsc_order",
        &[
            need("id", Id),
            may("symmetrical", Boolean),
            may("require-all", Boolean),
            may("score", Score),
            may("kind", ORDER_KINDS),
            may("first", Reference),
            may("then", Reference),
            may("first-action", ACTIONS),
            may("then-action", ACTIONS),
        ],
        &[at_most_one("lifetime"), any("resource_set")],
    )
    .either(&[
        &[&["first", "then", "?first-action", "?then-action"], &["resource_set"]],
        &[&["?kind"], &["?score"]],
    ])
    .in_order(&["lifetime", "resource_set"]),
    Shape::new(
        "rsc_ticket",
        &[
            need("id", Id),
            may("rsc", Reference),
            may("rsc-role", ROLES),
            need("ticket", Text),
            may("loss-policy", OneOf(&[("stop", 0), ("demote", 0), ("fence", 0), ("freeze", 0)])),
        ],
        &[any("resource_set")],
    )
    .either(&[&[&["rsc", "?rsc-role"], &["resource_set"]]]),
    Shape::new(
        "resource_set",
        &[
            may("id-ref", Reference),
            may("id", Id),
            may("sequential", Boolean),
            may("require-all", Boolean),
            may("ordering", OneOf(&[("group", 0), ("listed", 0)])),
            may("action", ACTIONS),
            may("role", ROLES),
            may("score", Score),
            may("kind", ORDER_KINDS),
        ],
        &[any("resource_ref")],
    )
    .either(&[
        &[
            &[
                "id",
                "resource_ref",
                "?sequential",
                "?require-all",
                "?ordering",
                "?action",
                "?role",
                "?score",
                "?kind",
            ],
            &["id-ref"],
        ],
        &[&["?kind"], &["?score"]],
    ]),
    Shape::new("resource_ref", &[need("id", Reference)], &[]),
    Shape::new("lifetime", &[], &[some("rule")]),
    Shape::new(
        "rule",
        &[
            may("id-ref", Reference),
            may("id", Id),
            may("boolean-op", OneOf(&[("or", 0), ("and", 0)])),
            may("role", Text),
            may("score", Score),
            may("score-attribute", Text),
        ],
        &[
            any("expression"),
            any("date_expression"),
            any("rule"),
            any("rsc_expression").since(4),
            any("op_expression").since(4),
        ],
    )
    .either(&[
        &[
            &[
                "id",
                "?boolean-op",
                "?role",
                "?score",
                "?score-attribute",
                "?expression",
                "?date_expression",
                "?rule",
                "?rsc_expression",
                "?op_expression",
            ],
            &["id-ref"],
        ],
        &[&["?score"], &["?score-attribute"]],
    ]),
    Shape::new(
        "expression",
        &[
            need("id", Id),
            need("attribute", Text),
            need("operation", OPERATIONS),
            may("value", Text),
            may("type", OneOf(&[("string", 0), ("integer", 5), ("number", 0), ("version", 0)])),
            may("value-source", SOURCES),
        ],
        &[],
    ),
    Shape::new(
        "date_expression",
        &[
            need("id", Id),
            need("operation", OneOf(&[("in_range", 0), ("gt", 0), ("lt", 0), ("date_spec", 0)])),
            may("start", Text),
            may("end", Text),
        ],
        &[at_most_one("duration"), at_most_one("date_spec")],
    ),
    Shape::new(
        "rsc_expression",
        &[need("id", Id), may("class", Text), may("provider", Text), may("type", Text)],
        &[],
    ),
    Shape::new("op_expression", &[need("id", Id), need("name", Text), may("interval", Text)], &[]),
    Shape::new(
        "duration",
        &[
            need("id", Id),
            may("years", Text),
            may("months", Text),
            may("weeks", Text),
            may("days", Text),
            may("hours", Text),
            may("minutes", Text),
            may("seconds", Text),
            may("monthdays", Text),
            may("weekdays", Text),
            may("yearsdays", Text),
            may("weekyears", Text),
            may("moon", Text),
        ],
        &[],
    ),
    Shape::new(
        "date_spec",
        &[
            need("id", Id),
            may("years", Text),
            may("months", Text),
            may("monthdays", Text),
            may("hours", Text),
            may("minutes", Text),
            may("seconds", Text),
            may("yeardays", Text),
            may("weekyears", Text),
            may("weeks", Text),
            may("weekdays", Text),
            may("moon", Text),
            may("yearsdays", Text),
        ],
        &[],
    ),
    Shape::new("fencing-topology", &[], &[any("fencing-level")]),
    Shape::new(
        "fencing-level",
        &[
            need("id", Id),
            may("target", Text),
            may("target-pattern", Text),
            may("target-attribute", Text),
            may("target-value", Text),
            need("index", Positive),
            need("devices", Ids),
        ],
        &[],
    )
    .either(&[&[&["target"], &["target-pattern"], &["target-attribute", "target-value"]]]),
    Shape::new("tags", &[], &[any("tag")]),
    Shape::new("tag", &[need("id", Id)], &[some("obj_ref")]),
    Shape::new("obj_ref", &[need("id", Text)], &[]),
    Shape::new("acls", &[], &[any("acl_target"), any("acl_group"), any("acl_role")]),
    Shape::new("acl_target", &[need("id", Text), may("name", Text).since(8)], &[any("role")]),
    Shape::new("acl_group", SUBJECT, &[any("role")]),
    Shape::new("role", &[need("id", Reference)], &[]),
    Shape::new("acl_role", &[need("id", Id), may("description", Text)], &[any("acl_permission")]),
    Shape::new(
        "acl_permission",
        &[
            need("id", Id),
            need("kind", OneOf(&[("read", 0), ("write", 0), ("deny", 0)])),
            may("xpath", Text),
            may("reference", Reference),
            may("object-type", Text),
            may("attribute", Text),
            may("description", Text),
        ],
        &[],
    )
    .either(&[&[&["xpath"], &["reference"], &["object-type", "?attribute"]]]),
    Shape::new("alerts", &[], &[any("alert")]),
    Shape::new(
        "alert",
        &[need("id", Id), may("description", Text), need("path", Text)],
        &[any("meta_attributes"), any("instance_attributes"), at_most_one("select"), any("recipient")],
    ),
    Shape::new(
        "select",
        &[],
        &[
            at_most_one("select_attributes"),
            at_most_one("select_fencing"),
            at_most_one("select_nodes"),
            at_most_one("select_resources"),
        ],
    ),
    Shape::new("select_attributes", &[], &[any("attribute")]),
    Shape::new("attribute", &[need("id", Id), need("name", Text)], &[]),
    Shape::new("select_fencing", &[], &[]),
    Shape::new("select_nodes", &[], &[]),
    Shape::new("select_resources", &[], &[]),
    Shape::new("recipient", &[need("id", Id), may("description", Text), need("value", Text)], BLOCKS),
];
