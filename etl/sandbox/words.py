"""The vocabulary of made-up records, and the special ones that every world should hold."""


def _words(text: str) -> list[str]:
    return text.split()


ADJECTIVES = _words(
    "amber brisk calm daring eager fabled gentle hidden ivory jolly keen lively mellow noble "
    "opal proud quiet rapid silver tidy upbeat vivid warm young zesty"
)
NOUNS = _words(
    "account basket checkout dashboard export feed gallery home inbox journey kiosk ledger menu "
    "notification onboarding payment queue ranking search timeline upload video wallet"
)
TAGS = _words("ops team-a team-b growth mobile web core beta legacy payments search compliance")
COLORS = _words("F5A623 417505 4A90E2 BD10E0 50E3C2 D0021B 7ED321 9013FE")
UNITS = _words("user account organization device")
ID_TYPES = _words("userID stableID companyID")
TIMEZONES = _words("America/Los_Angeles Europe/Berlin Asia/Tokyo UTC America/Sao_Paulo")
LANGUAGES = _words("en de ja pt-BR ar")
APPS = _words("ios android web tv")
ENVIRONMENTS = _words("production staging test development qa demo")

PEOPLE = (
    ("5sgBiiuoBX4fscrWdCXVma", "Test User", "test@statsig.com"),
    ("6Q78Ih2m3FnOoECDsvzoms", "Ana Pérez", "ana@example.com"),
    ("7Zk1PpQw8RtYuIoPaSdFgH", "Noor الحسن", "noor@example.com"),
    ("api-key-4Xc2", "CI pipeline", None),  # changes through the API have no e-mail
)

FORMULA = '=HYPERLINK("http://evil.example","click")'
SCRIPT = "<script>alert(1)</script>"
ESCAPES = "\x1b[31mRed alert\x1b[0m"
RIGHT_TO_LEFT = "\u0645\u0634\u0631\u0648\u0639 \u0627\u0644\u062f\u0641\u0639 \U0001f680"

# (key, name); the twin keys differ in case, `a` + `b-c` and `a-b` + `c` collide when joined
LD_PROJECTS = (
    ("my-project", "My Project"),
    ("big-estate", "Big Estate"),
    ("Mobile.App_2", FORMULA),
    ("search", SCRIPT),
    ("Search", "Search (the other one)"),
    ("a", "A"),
    ("a-b", "A-B"),
    ("payments", RIGHT_TO_LEFT),
    ("alerts", ESCAPES),
)
BIG_PROJECT = 1
LD_FIRST_LAYER = {5: "b-c", 6: "c"}

STATSIG_LAYERS = (
    "statsig::product_logo_icon_shapes_multi_group_layer",
    "Homepage Feed Improvements",
    "statsig::mostly_test_experiment_layer",
    "a/b split 100% of users!",
    RIGHT_TO_LEFT,
    FORMULA,
    "../../etc/passwd",
    SCRIPT,
    "Checkout",
    "checkout",
    ESCAPES,
)
STATSIG_SAMPLE = 1
STATSIG_SAMPLE_PARAMETERS = (
    ("ranking_model", "string", "4v2"),
    ("test", "string", "randomtextfdafs"),
    ("test!!!", "string", ""),
    ("test_object", "object", {"test": "hello"}),
)

LAYERS_PROJECTS = ("Acme Coffee iOS", FORMULA, SCRIPT, RIGHT_TO_LEFT, ESCAPES)
