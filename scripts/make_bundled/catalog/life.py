"""Domains about people, animals and learning."""

from scripts.make_bundled.pools import CITIES, PARTS_OF_TOWN, TOWNS
from text2sql.data.make.domain import (
    Bridge,
    Domain,
    cat,
    code,
    cross,
    date,
    flag,
    label,
    num,
    person,
    ref,
    sparse,
    table,
    year,
)

CLINIC = Domain(
    "clinic",
    "train",
    (
        table(
            "doctors",
            "doctor|physician",
            20,
            person(),
            cat(
                "specialty",
                "specialty|medical specialty",
                "cardiology|neurology|pediatrics|surgery|dermatology",
                "working in {}|specialized in {}",
            ),
            cat("city", "city", CITIES[:5], "based in {}"),
            num(
                "salary",
                "salary|yearly salary",
                70000,
                190000,
                1000,
                more="earning more than {}",
                less="earning less than {}",
                most="best-paid",
            ),
        ),
        table(
            "patients",
            "patient",
            36,
            person(),
            cat("city", "city|home city", CITIES[1:7], "living in {}|from {}"),
            year("birth_year", "year of birth|birth year", 1935, 2018, "born", "youngest", "oldest"),
            sparse(
                code("phone", "phone number", "555-####"),
                "without a phone number|with no phone number on file",
                "with a phone number",
            ),
        ),
        table(
            "appointments",
            "appointment|visit",
            48,
            ref("doctor_id", "doctors", "with", "had", "doctor"),
            ref("patient_id", "patients", "of|made by", "had", "patient"),
            date("day", "date", 2022, 2024, "held|that took place"),
            num("fee", "fee|cost", 40, 380, 5, most="most expensive", least="cheapest", total=True),
            cat("status", "status", "completed|cancelled|missed", "^{}|with status {}"),
        ),
    ),
    (Bridge("patients", "appointments", "doctors", ("who have had an appointment with {}", "who have seen {}")),),
)

GYM = Domain(
    "gym",
    "train",
    (
        table(
            "trainers",
            "trainer|coach/coaches",
            16,
            person(),
            cat("level", "level|certification level", "basic|advanced|master", "certified at the {} level"),
            num(
                "hourly_pay",
                "hourly pay",
                18,
                60,
                1,
                more="paid more than {} per hour",
                less="paid less than {} per hour",
            ),
        ),
        table(
            "workouts",
            "workout|workout class",
            40,
            label(
                "name",
                "name",
                cross("Power|Gentle|Morning|Extreme|Aqua|Total", "Yoga|Spin|Boxing|Pilates|Core|Dance|Rowing"),
            ),
            ref("trainer_id", "trainers", "taught by|led by", "taught", "trainer"),
            cat("weekday", "weekday|day of the week", "Monday|Tuesday|Wednesday|Thursday|Friday", "on {}|held on {}"),
            num("minutes", "length in minutes|duration in minutes", 20, 95, 5, most="longest", least="shortest"),
            num("places", "number of places|place count", 6, 45, unit="places", total=True),
        ),
    ),
)

ZOO = Domain(
    "zoo",
    "train",
    (
        table(
            "keepers",
            "keeper|zookeeper",
            16,
            person(),
            cat("shift", "shift", "day|evening|night", "on the {} shift|working the {} shift"),
            date("hired_on", "hiring date", 2008, 2023, "hired"),
        ),
        table(
            "animals",
            "animal",
            44,
            label(
                "name",
                "name",
                "Bongo|Kito|Luna|Moro|Nala|Pip|Rafi|Suri|Tiko|Umbo|Zara|Akela|Biko|Chip|Duma|Ember|Fuzz|Gala|Hera|Indo|Jojo|Koda|Lola|Maku|Nero|Otto|Pasha|Quill|Rolo|Sasha|Tofu|Ursa|Vito|Wiki|Xena|Yogi|Zuri|Argo|Bella|Coco|Dino|Echo|Frodo|Gizmo",
            ),
            cat("species", "species", "lion|penguin|zebra|otter|tapir|lemur", "of the species {}|whose species is {}"),
            ref("keeper_id", "keepers", "looked after by|cared for by", "looked after", "keeper"),
            num(
                "weight",
                "weight|weight in kg",
                2,
                420,
                2,
                more="weighing more than {} kg",
                less="weighing less than {} kg",
                most="heaviest",
                least="lightest",
                total=True,
            ),
            year("born", "birth year|year of birth", 2000, 2023, "born", "youngest", "oldest"),
        ),
        table(
            "feedings",
            "feeding|meal",
            46,
            ref("animal_id", "animals", "of|given to", "had", "animal"),
            cat("food", "food|type of food", "fish|hay|fruit|meat|pellets", "of {}|consisting of {}"),
            num("amount", "amount|amount in kg", 0.5, 24, 0.5, most="largest", least="smallest", total=True),
            date("day", "date", 2023, 2024, "given"),
        ),
    ),
    (Bridge("keepers", "animals", "feedings", ("with an animal that had {}",)),),
)

UNIVERSITY = Domain(
    "university",
    "train",
    (
        table(
            "faculties",
            "faculty",
            10,
            label(
                "name", "name", "Law|Medicine|Physics|Philosophy|Economics|Music|Geology|Botany|Linguistics|Engineering"
            ),
            cat("campus", "campus", "North|South|Harbor", "on the {} campus"),
            num("budget", "budget", 200, 4800, 20, most="richest", least="poorest", total=True),
        ),
        table(
            "professors",
            "professor|lecturer",
            34,
            person(),
            ref("faculty_id", "faculties", "of|working in", "employed", "faculty"),
            cat("rank", "rank|academic rank", "assistant|associate|full", "of {} rank|with the rank {}"),
            num("papers", "number of papers|paper count", 2, 160, unit="papers", total=True),
            year("hired", "hiring year|year of hiring", 1988, 2023, "hired"),
        ),
        table(
            "lectures",
            "lecture|course",
            42,
            label(
                "title",
                "title",
                cross(
                    "Introduction to|Advanced|Topics in|History of",
                    "Optics|Ethics|Markets|Harmony|Minerals|Syntax|Plants|Rights|Circuits|Genes|Logic",
                ),
            ),
            ref("professor_id", "professors", "taught by|given by", "taught", "professor"),
            num("credits", "number of credits|credit count", 2, 12, unit="credits", total=True),
            num(
                "enrolled",
                "enrollment|number of enrolled students",
                5,
                240,
                unit="enrolled students",
                most="most popular",
                least="least popular",
                total=True,
            ),
        ),
    ),
    (Bridge("faculties", "professors", "lectures", ("with a professor who teaches {}",)),),
)

DAYCARE = Domain(
    "daycare",
    "train",
    (
        table(
            "children",
            "child/children|kid",
            36,
            person(),
            num("age", "age", 1, 6, more="older than {}", less="younger than {}", most="oldest", least="youngest"),
            cat("play_group", "group|play group", "Bees|Foxes|Owls|Frogs", "in the {} group"),
            sparse(
                cat("allergy", "allergy", "nuts|milk|eggs", "allergic to {}"),
                "without any allergy|with no known allergy",
                "with an allergy",
            ),
            date("enrolled", "enrollment date", 2020, 2024, "enrolled"),
        ),
        table(
            "outings",
            "outing|excursion",
            30,
            cat("place", "place|destination", "beach|forest|theatre|farm|aquarium", "to the {}"),
            date("day", "date", 2022, 2024, "that took place", "most recent", "earliest"),
            cat("play_group", "group|play group", "Bees|Foxes|Owls|Frogs", "of the {} group|made by the {} group"),
            num("cost", "cost|price", 10, 260, 5, most="most expensive", least="cheapest", total=True),
        ),
    ),
)

VETERINARY = Domain(
    "veterinary",
    "test",
    (
        table(
            "owners",
            "owner|pet owner",
            24,
            person(),
            cat("town", "town|home town", TOWNS, "living in {}|from {}"),
            num("balance", "balance|outstanding balance", 0, 620, 10, more="owing more than {}", total=True),
        ),
        table(
            "pets",
            "pet",
            40,
            label(
                "name",
                "name",
                "Biscuit|Cleo|Daisy|Felix|Ginger|Hazel|Iggy|Jasper|Kiki|Leo|Milo|Nacho|Olive|Peanut|Rex|Shadow|Toby|Waffles|Ziggy|Apollo|Basil|Cocoa|Dotty|Ernie|Fudge|Goose|Honey|Inky|Juno|Karma|Lucky|Mango|Noodle|Oscar|Pepper|Ruby|Smokey|Tango|Velvet|Willow",
            ),
            ref("owner_id", "owners", "owned by|belonging to", "registered", "owner"),
            cat("animal", "kind of animal|animal type", "dog|cat|rabbit|parrot|hamster", "of the kind {}"),
            num("age", "age", 1, 19, more="older than {}", less="younger than {}", most="oldest", least="youngest"),
            flag("vaccinated", "^vaccinated", "^unvaccinated"),
        ),
        table(
            "checkups",
            "checkup|examination",
            46,
            ref("pet_id", "pets", "of", "had", "pet"),
            date("day", "date", 2021, 2024, "carried out|done"),
            num("cost", "cost|price", 25, 480, 5, most="most expensive", least="cheapest", total=True),
            cat("reason", "reason", "injury|vaccine|dental|routine", "for the reason {}"),
        ),
    ),
    (Bridge("owners", "pets", "checkups", ("with a pet that had {}",)),),
)

PHARMACY = Domain(
    "pharmacy",
    "test",
    (
        table(
            "medicines",
            "medicine|drug",
            30,
            label("name", "name", cross("Al|Bro|Cor|Dexi|Era|Fen", "mazol|tropin|vadil|zerin|pralin", "")),
            cat("form", "form", "tablet|syrup|cream|spray", "in {} form|sold as a {}"),
            num("price", "price", 3, 95, 0.5, most="most expensive", least="cheapest"),
            num("stock", "stock|stock level", 0, 480, 5, unit="units in stock", total=True),
            flag("needs_prescription", "that need a prescription", "sold without a prescription"),
        ),
        table(
            "pharmacists",
            "pharmacist",
            14,
            person(),
            cat("branch", "branch", PARTS_OF_TOWN[:4], "at the {} branch"),
            num(
                "years_employed",
                "length of service|length of service in years",
                1,
                30,
                more="employed for more than {} years",
            ),
        ),
        table(
            "receipts",
            "receipt",
            48,
            ref("medicine_id", "medicines", "for", "had", "medicine"),
            ref("pharmacist_id", "pharmacists", "issued by|signed by", "issued", "pharmacist"),
            num("quantity", "quantity|number of packs", 1, 12, total=True),
            date("issued", "issue date|date of issue", 2022, 2024, "issued"),
        ),
    ),
    (Bridge("pharmacists", "receipts", "medicines", ("who have issued a receipt for {}",)),),
)

DOMAINS = (CLINIC, GYM, ZOO, UNIVERSITY, DAYCARE, VETERINARY, PHARMACY)
