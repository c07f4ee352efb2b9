"""English digits as speakers of other languages say them, spelled for espeak's other languages."""

# ruff: noqa: RUF001 (other alphabets are what this is about)

from digits_training.vocabulary import DIGITS

_SPELLINGS = {
    "cs": "zírou van tú srí fór fajv siks sevn ejt najn",
    "de": "siero wann tuh frie fohr feif sicks sewen ejt nein",
    "el": "ζίρο γουάν του θρι φορ φάιβ σιξ σέβεν έιτ νάιν",
    "es": "siro uan tu tri for faif siks seven eit nain",
    "es-419": "siro guan tu tri for faif siks seben eit nain",
    "fi": "siro van tu srii foor faiv siks seven eit nain",
    "fr": "zirau ouane tou zri fore faïve sixe sévène eite naïne",
    "hi": "ज़ीरो वन टू थ्री फोर फाइव सिक्स सेवन एट नाइन",
    "hu": "zíró van tú szrí fór fájv sziksz szeven éjt nájn",
    "it": "ziro uan tu tri for faiv sics seven eit nain",
    "nl": "ziero wan toe srie foor faaif siks seven eet nain",
    "pl": "ziro łan tu sri for fajw syks sewen ejt najn",
    "pt": "ziro uan tu tri for faiv sics seven eit nain",
    "pt-br": "ziro uan tu fri for faive siquis séven eite naine",
    "ro": "ziro uan tu tri for faiv sics seven eit nain",
    "ru": "зыро уан ту сри фор файв сыкс сэвэн эйт найн",
    "sv": "siro oann to tri får fajv sicks seven ejt najn",
    "tr": "ziro van tu tri for fayv siks sevın eyt nayn",
}

ACCENTS: dict[str, dict[str, str]] = {
    language: dict(zip(DIGITS, spelling.split(), strict=True))
    for language, spelling in _SPELLINGS.items()
}
"""espeak's language → digit → how that language spells what its speakers say for it."""
