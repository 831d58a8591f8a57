"""Domains about making, selling and serving things."""

from scripts.make_bundled.pools import CITIES, EUROPE, PARTS_OF_TOWN, REGIONS, TOWNS
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
    someone,
    sparse,
    table,
    year,
)

BAKERY = Domain(
    "bakery",
    "train",
    (
        table(
            "pastries",
            "pastry",
            30,
            label("name", "name", cross("Almond|Apple|Cherry|Lemon|Honey|Walnut", "Tart|Roll|Twist|Cake|Pocket")),
            cat("dough", "dough|type of dough", "puff|yeast|short|choux", "made with {} dough"),
            num(
                "price",
                "price",
                1,
                9,
                0.25,
                more="costing more than {}",
                less="costing less than {}",
                most="most expensive",
                least="cheapest",
            ),
            num("calories", "number of calories|calorie count", 120, 780, 5, unit="calories"),
            flag("is_vegan", "^vegan", "^non-vegan"),
        ),
        table(
            "sales",
            "sale",
            48,
            ref("pastry_id", "pastries", "of", "had", "pastry"),
            cat("branch", "branch|shop", PARTS_OF_TOWN, "at the {} branch|made at the {} branch"),
            date("sold_on", "date|sale date", 2023, 2024, "made"),
            num("quantity", "quantity|quantity sold", 1, 60, most="largest", least="smallest", total=True),
        ),
    ),
)

VINEYARD = Domain(
    "vineyard",
    "train",
    (
        table(
            "wineries",
            "winery|estate",
            18,
            label("name", "name", cross("Casa|Domaine|Quinta|Villa", "Alma|Belmonte|Corvina|Luz|Serra")),
            cat("country", "country", EUROPE[:5], "in {}|located in {}"),
            num(
                "hectares",
                "area in hectares|size in hectares",
                3,
                140,
                unit="hectares",
                most="largest",
                least="smallest",
                total=True,
            ),
        ),
        table(
            "wines",
            "wine",
            44,
            label(
                "name",
                "name",
                cross("Old|Red|Royal|Stone|Night|Sunny|Wild", "Reserve|Valley|Oak|Hill|Harvest|Cellar|Slope"),
            ),
            ref("winery_id", "wineries", "made by|produced by", "produced", "winery"),
            cat("color", "color", "red|white|rose|sparkling", "^{}"),
            year("vintage", "vintage|vintage year", 1990, 2022, "harvested", "youngest", "oldest"),
            num("price", "price|bottle price", 6, 180, 1, most="most expensive", least="cheapest"),
            num("rating", "rating|score", 70, 99, most="best rated", least="worst rated"),
        ),
    ),
)

RESTAURANT = Domain(
    "restaurant",
    "train",
    (
        table(
            "chefs",
            "chef|cook",
            14,
            person(),
            cat("cuisine", "cuisine", "Italian|Thai|Peruvian|Greek", "cooking {} food|specialized in {} cuisine"),
            num("experience", "experience in years", 1, 32, most="most experienced", least="least experienced"),
        ),
        table(
            "dishes",
            "dish",
            40,
            label(
                "name",
                "name",
                cross(
                    "Roasted|Smoked|Spicy|Creamy|Grilled|Stuffed|Crispy", "Eggplant|Salmon|Duck|Beans|Lamb|Pumpkin|Tofu"
                ),
            ),
            ref("chef_id", "chefs", "created by|by", "created", "chef"),
            cat("course", "course", "starter|main|dessert|side", "served as a {}"),
            num(
                "price",
                "price",
                5,
                48,
                0.5,
                more="costing more than {}",
                less="costing less than {}",
                most="most expensive",
                least="cheapest",
            ),
            num(
                "prep_time", "preparation time|preparation time in minutes", 5, 95, 5, most="slowest", least="quickest"
            ),
        ),
        table(
            "reviews",
            "review",
            46,
            ref("dish_id", "dishes", "of", "received", "dish"),
            num("stars", "star rating|number of stars", 1, 5, unit="stars"),
            date("written_on", "date", 2022, 2024, "written"),
            sparse(code("comment", "comment", "Note ##"), "without a comment", "with a comment"),
        ),
    ),
    (Bridge("chefs", "dishes", "reviews", ("with a dish that received {}",)),),
)

INVOICING = Domain(
    "invoicing",
    "train",
    (
        table(
            "clients",
            "client",
            26,
            label(
                "company",
                "company name|company",
                cross("Alder|Brook|Cobalt|Delta|Ember|Fable", "Works|Foods|Design|Logistics|Media"),
            ),
            cat(
                "industry",
                "industry|sector",
                "retail|energy|health|media|farming",
                "in the {} industry|from the {} industry",
            ),
            cat("city", "city", CITIES[:6], "based in {}|located in {}"),
            sparse(
                code("email", "email address", "office##@mail.example"),
                "without an email address",
                "with an email address",
            ),
        ),
        table(
            "invoices",
            "invoice|bill",
            48,
            ref("client_id", "clients", "sent to|for", "received", "client"),
            num("amount", "amount|total", 120, 9800, 20, most="largest", least="smallest", total=True),
            date("issued_on", "issue date|date of issue", 2021, 2024, "issued"),
            sparse(
                date("paid_on", "payment date", 2022, 2024, "paid"),
                "that have not been paid|without a payment date",
                "that have been paid",
            ),
        ),
    ),
)

FURNITURE = Domain(
    "furniture",
    "train",
    (
        table(
            "items",
            "item|piece of furniture/pieces of furniture",
            40,
            label(
                "name",
                "name",
                cross("Nordic|Classic|Compact|Rustic|Royal|Urban", "Chair|Table|Shelf|Sofa|Desk|Bench|Stool"),
            ),
            cat("material", "material", "oak|pine|steel|bamboo|glass", "made of {}"),
            cat("collection", "collection", "Aurora|Basalt|Cedar|Dune", "from the {} collection|in the {} collection"),
            num(
                "price",
                "price",
                25,
                1900,
                5,
                more="costing more than {}",
                less="costing less than {}",
                most="most expensive",
                least="cheapest",
            ),
            num("weight", "weight|weight in kg", 2, 95, 0.5, most="heaviest", least="lightest", total=True),
            num("stock", "stock|stock level", 0, 160, total=True),
        ),
    ),
)

PRINT_SHOP = Domain(
    "print_shop",
    "train",
    (
        table(
            "machines",
            "machine|printing machine",
            14,
            label("name", "name", "Atlas|Bolt|Comet|Drum|Echo|Flash|Giant|Hawk|Iris|Jade|Knight|Lotus|Mars|Nova"),
            cat("brand", "brand", "Inkora|Pressman|Rotex", "of the {} brand|^{}"),
            year("bought", "year of purchase|purchase year", 2008, 2023, "bought", "newest", "oldest"),
            num("speed", "speed|speed in pages per minute", 20, 180, 2, most="fastest", least="slowest"),
        ),
        table(
            "jobs",
            "job|print job",
            48,
            ref("machine_id", "machines", "printed on|run on", "handled", "machine"),
            someone("ordered_by", "customer name"),
            cat("paper", "paper|paper type", "matte|glossy|recycled|card", "on {} paper"),
            num(
                "copies",
                "number of copies|copy count",
                10,
                5000,
                10,
                unit="copies",
                most="largest",
                least="smallest",
                total=True,
            ),
            date("due", "due date|deadline", 2023, 2024, "due"),
        ),
    ),
)

WEB_SHOP = Domain(
    "web_shop",
    "test",
    (
        table(
            "shoppers",
            "shopper|customer",
            28,
            person(),
            cat("city", "city|home city", CITIES[:7], "living in {}|from {}"),
            cat("tier", "membership tier|tier", "bronze|silver|gold", "in the {} tier|with {} membership"),
            date("registered", "registration date", 2018, 2023, "registered|who signed up"),
        ),
        table(
            "orders",
            "order|purchase",
            48,
            ref("shopper_id", "shoppers", "placed by|made by", "placed", "customer"),
            num("total", "order value|total", 8, 720, 2, most="largest", least="smallest", total=True),
            date("ordered_on", "order date|date of the order", 2021, 2024, "placed"),
            cat("status", "status", "pending|shipped|delivered|returned", "^{}|with status {}"),
            sparse(code("coupon", "coupon|coupon code", "SAVE##"), "without a coupon", "with a coupon"),
        ),
    ),
)

WAREHOUSE = Domain(
    "warehouse",
    "test",
    (
        table(
            "vendors",
            "vendor|supplier",
            18,
            label("name", "name", cross("Acorn|Birch|Copper|Ridge|Union", "Supply|Tools|Metals|Trading")),
            cat("region", "region", REGIONS, "in the {} region|from the {} region"),
            num("reliability", "reliability score|reliability", 40, 100, most="most reliable", least="least reliable"),
        ),
        table(
            "parts",
            "part|component",
            40,
            label(
                "name",
                "name",
                cross("Steel|Brass|Rubber|Copper|Nylon", "Bolt|Hinge|Valve|Gear|Spring|Washer|Pipe|Clamp"),
            ),
            ref("vendor_id", "vendors", "supplied by|from", "supplied", "vendor"),
            cat("bin_zone", "storage zone|zone", "A|B|C|D", "stored in zone {}|in zone {}"),
            num("unit_cost", "unit cost|cost per unit", 0.5, 42, 0.5, most="most expensive", least="cheapest"),
            num("on_hand", "quantity on hand|stock", 0, 1500, 10, total=True),
        ),
        table(
            "deliveries",
            "delivery|shipment",
            48,
            ref("part_id", "parts", "of", "had", "part"),
            date("received", "receiving date", 2022, 2024, "received"),
            num(
                "pieces",
                "number of pieces|piece count",
                10,
                900,
                10,
                unit="pieces",
                most="largest",
                least="smallest",
                total=True,
            ),
            cat("town", "town of origin|origin", TOWNS[:5], "coming from {}"),
        ),
    ),
    (Bridge("vendors", "parts", "deliveries", ("with a part that had {}",)),),
)

DOMAINS = (BAKERY, VINEYARD, RESTAURANT, INVOICING, FURNITURE, PRINT_SHOP, WEB_SHOP, WAREHOUSE)
