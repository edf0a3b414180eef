"""Any text that there is, through the modality: read as it stands, or refused with a reason."""

import json
import unicodedata
from itertools import pairwise

import numpy as np
import pytest

from enfold.client import json_item
from enfold.errors import BadItem, TooLarge
from enfold.modalities.text import TOKENIZER, Text, TextPreprocess
from training import tokenizer

# Scripts of Unicode, each by a range of its own letters.
SCRIPTS = {
    "Latin": (0x61, 0x7A), "Greek": (0x3B1, 0x3C9), "Cyrillic": (0x430, 0x44F), "Armenian": (0x561, 0x586),
    "Hebrew": (0x5D0, 0x5EA), "Arabic": (0x627, 0x64A), "Syriac": (0x710, 0x72F), "Thaana": (0x780, 0x7A5),
    "NKo": (0x7CA, 0x7EA), "Samaritan": (0x800, 0x815), "Mandaic": (0x840, 0x858), "Devanagari": (0x905, 0x939),
    "Bengali": (0x995, 0x9A8), "Gurmukhi": (0xA15, 0xA28), "Gujarati": (0xA95, 0xAA8), "Oriya": (0xB15, 0xB28),
    "Tamil": (0xBAE, 0xBB9), "Telugu": (0xC15, 0xC28), "Kannada": (0xC95, 0xCA8), "Malayalam": (0xD15, 0xD28),
    "Sinhala": (0xD9A, 0xDB1), "Thai": (0xE01, 0xE2E), "Lao": (0xE94, 0xE97), "Tibetan": (0xF40, 0xF47),
    "Myanmar": (0x1000, 0x1020), "Georgian": (0x10D0, 0x10F0), "Hangul": (0xAC00, 0xAC40), "Ethiopic": (0x1200, 0x1246),
    "Cherokee": (0x13A0, 0x13F4), "Canadian Aboriginal": (0x1401, 0x1450), "Ogham": (0x1681, 0x169A),
    "Runic": (0x16A0, 0x16EA), "Tagalog": (0x1700, 0x170C), "Hanunoo": (0x1720, 0x1731), "Buhid": (0x1740, 0x1751),
    "Tagbanwa": (0x1760, 0x176C), "Khmer": (0x1780, 0x17A2), "Mongolian": (0x1820, 0x1842), "Limbu": (0x1900, 0x191C),
    "Tai Le": (0x1950, 0x196D), "New Tai Lue": (0x1980, 0x19AB), "Buginese": (0x1A00, 0x1A16),
    "Tai Tham": (0x1A20, 0x1A54), "Balinese": (0x1B13, 0x1B33), "Sundanese": (0x1B83, 0x1BA0),
    "Batak": (0x1BC0, 0x1BE5), "Lepcha": (0x1C00, 0x1C23), "Ol Chiki": (0x1C5A, 0x1C77), "Glagolitic": (0x2C30, 0x2C5E),
    "Coptic": (0x2C80, 0x2CB0), "Tifinagh": (0x2D30, 0x2D67), "Hiragana": (0x3042, 0x3093),
    "Katakana": (0x30A2, 0x30F3),
    "Bopomofo": (0x3105, 0x312F), "Han": (0x4E00, 0x4E80), "Yi": (0xA000, 0xA080), "Lisu": (0xA4D0, 0xA4F7),
    "Vai": (0xA500, 0xA580), "Bamum": (0xA6A0, 0xA6E5), "Syloti Nagri": (0xA807, 0xA80A), "Phags-pa": (0xA840, 0xA873),
    "Saurashtra": (0xA892, 0xA8B3), "Kayah Li": (0xA90A, 0xA925), "Rejang": (0xA930, 0xA946),
    "Javanese": (0xA984, 0xA9B2), "Cham": (0xAA00, 0xAA28), "Tai Viet": (0xAA80, 0xAAAF),
    "Meetei Mayek": (0xABC0, 0xABE2), "Linear B": (0x10000, 0x1000B), "Lycian": (0x10280, 0x1029C),
    "Carian": (0x102A0, 0x102D0), "Old Italic": (0x10300, 0x1031F), "Gothic": (0x10330, 0x10340),
    "Old Permic": (0x10350, 0x10375), "Ugaritic": (0x10380, 0x1039D), "Old Persian": (0x103A0, 0x103C3),
    "Deseret": (0x10428, 0x1044F), "Shavian": (0x10450, 0x1047F), "Osmanya": (0x10480, 0x1049D),
    "Osage": (0x104D8, 0x104FB), "Elbasan": (0x10500, 0x10527), "Caucasian Albanian": (0x10530, 0x10563),
    "Linear A": (0x10600, 0x10736), "Cypriot": (0x1080A, 0x10835), "Imperial Aramaic": (0x10840, 0x10855),
    "Palmyrene": (0x10860, 0x10876), "Nabataean": (0x10880, 0x1089E), "Hatran": (0x108E0, 0x108F2),
    "Phoenician": (0x10900, 0x10915), "Lydian": (0x10920, 0x10939), "Meroitic": (0x10980, 0x109B7),
    "Kharoshthi": (0x10A10, 0x10A13), "Old South Arabian": (0x10A60, 0x10A7C), "Old North Arabian": (0x10A80, 0x10A9C),
    "Manichaean": (0x10AC0, 0x10AC7), "Avestan": (0x10B00, 0x10B35), "Inscriptional Parthian": (0x10B40, 0x10B55),
    "Inscriptional Pahlavi": (0x10B60, 0x10B72), "Psalter Pahlavi": (0x10B80, 0x10B91),
    "Old Turkic": (0x10C00, 0x10C48),
    "Old Hungarian": (0x10CC0, 0x10CF2), "Brahmi": (0x11003, 0x11037), "Kaithi": (0x1108D, 0x11099),
    "Sora Sompeng": (0x110D0, 0x110E8), "Chakma": (0x11103, 0x11126), "Mahajani": (0x11150, 0x11172),
    "Sharada": (0x11183, 0x111B2), "Khojki": (0x11213, 0x1122B), "Newa": (0x1140E, 0x11434),
    "Tirhuta": (0x1148F, 0x114AF),
    "Siddham": (0x1158E, 0x115AE), "Modi": (0x11600, 0x1162F), "Takri": (0x11680, 0x116AA), "Ahom": (0x11700, 0x1171A),
    "Warang Citi": (0x118C0, 0x118DF), "Bhaiksuki": (0x11C0E, 0x11C2E), "Cuneiform": (0x12000, 0x12080),
    "Egyptian hieroglyphs": (0x13000, 0x13080), "Anatolian hieroglyphs": (0x14400, 0x14480), "Mro": (0x16A40, 0x16A5E),
    "Bassa Vah": (0x16AD0, 0x16AED), "Pahawh Hmong": (0x16B00, 0x16B2F), "Miao": (0x16F00, 0x16F44),
    "Tangut": (0x17000, 0x17080), "Duployan": (0x1BC00, 0x1BC6A), "Mende Kikakui": (0x1E800, 0x1E8C4),
    "Adlam": (0x1E922, 0x1E943),
}  # fmt: skip

# What stands in texts and is no plain letter of a left-to-right script.
ODD = {
    "right to left": "שלום עולם, مرحبا بالعالم",
    "both directions": "the word \u2067שלום\u2069 in it \u200fand\u200e back",
    "emoji": "🙂🎉❤️",
    "an emoji of several": "👩‍👩‍👧‍👦 👍🏽 🇫🇷 1️⃣",
    "control characters": "a\x00b\x01\x1b[31mc\x7f\x85d",
    "spaces of all kinds": "a\u00a0b\u2003c\u3000d\u200be\ufefff",
    "line ends of all kinds": "a\r\nb\rc\u2028d\u2029e",
    "stacked marks": "Z" + "\u0327\u0303\u0316" * 40,
    "letters beyond the plane": "𝒜𝓁𝓅𝒽𝒶 𐍈 🜁",
    "private use and unassigned": "\ue000 \U000f0000 \U000e0fff",
    "noncharacters": "\ufffe\uffff\U0010ffff a",
    "a replacement character": "caf\ufffd",
    "one letter": "a",
    "one word of a thousand letters": "x" * 1000,
    "markup": "<b>bold</b> &amp; <!-- no --> {{x}} %s \\n",
    "tokens by name": "<pad> <bos> <eos> [MASK] </s>",
}


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Text:
    """Of a byte-level tokenizer, which can spell anything."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / TOKENIZER).parent.mkdir()
    (folder / TOKENIZER).write_text(tokenizer.train(["the cat sat on the mat", *ODD.values()], 400))
    return Text(TextPreprocess(max_tokens=64, overlap_tokens=8), folder=folder)


def test_there_are_more_than_a_hundred_scripts():
    assert len(SCRIPTS) > 100
    assert len({first for first, _ in SCRIPTS.values()}) == len(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_read_written_and_told_apart(script, text, tmp_path):
    first, last = SCRIPTS[script]
    letters = [chr(code) for code in range(first, last + 1) if unicodedata.category(chr(code))[0] == "L"]
    assert len(letters) > 3
    value = "".join(letters[:40])
    file = tmp_path / "item.txt"
    file.write_text(value, "utf-8")
    ways = [text.read(item) for item in (value, value.encode(), file)]
    assert set(ways) == {unicodedata.normalize("NFC", value)}
    (sample,) = text.prepare(ways[0][:12])
    assert text.of_tokens([id for id in sample.arrays["input_ids"].tolist() if id not in text.special]) == ways[0][:12]
    other = text.prepare(ways[0][1:12])[0].arrays["input_ids"]
    assert sample.arrays["input_ids"].tolist() != other.tolist()


@pytest.mark.parametrize("case", ODD)
def test_odd_texts_are_items_like_any(case, text, tmp_path):
    value = ODD[case]
    read = text.read(value)
    assert read == unicodedata.normalize("NFC", value)
    windows = text.prepare(read, parts=True)
    for sample in windows:
        text.prepared(text.collate([sample]))  # within what a graph takes
    assert len(text.mark(read)) == 64
    assert text.thumbnail(read)[8:12] == b"WEBP"
    file = tmp_path / "item.txt"
    file.write_bytes(value.encode())
    sent = json.loads(json.dumps(json_item(file, "text")))
    assert text.read(text.from_json(Text.Json.model_validate(sent))) == read


def test_parts_of_a_text_of_both_directions_cover_it(text):
    value = "שלום cat " * 60
    parts = [sample.part for sample in text.prepare(text.read(value), parts=True)]
    assert len(parts) > 2
    assert parts[0].start == 0
    assert parts[-1].end >= len(value.rstrip())
    assert all(left.end >= right.start for left, right in pairwise(parts))


@pytest.mark.parametrize("blank", ["", " ", "\n\t\r ", "\u00a0\u2003\u3000", "\x85\u2028"])
def test_what_holds_no_character_to_see_is_empty(blank, text):
    for item in (blank, blank.encode()):
        with pytest.raises(BadItem, match="the text is empty"):
            text.read(item)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "iso8859-5", "shift_jis", "gb18030", "euc-kr", "big5"])
def test_another_encoding_is_refused_and_says_at_which_byte(encoding, text):
    value = {"iso8859-5": "привет", "shift_jis": "日本語", "gb18030": "中文", "euc-kr": "한국어", "big5": "中文"}
    with pytest.raises(BadItem, match=r"not UTF-8 \(byte \d+\): convert it first"):
        text.read(value.get(encoding, "café").encode(encoding))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_wider_forms_of_unicode_are_refused_or_read_as_their_bytes(encoding, text):
    """A mark of byte order is no UTF-8; without one, UTF-16 of plain letters is UTF-8 with zeros between."""
    data = "a cat".encode(encoding)
    if data[:1] == b"\xff":
        with pytest.raises(BadItem, match=r"not UTF-8 \(byte 0\)"):
            text.read(data)
    else:
        assert text.read(data) == "a\0 \0c\0a\0t\0"


def test_a_file_of_two_encodings_is_refused_where_the_second_begins(text):
    with pytest.raises(BadItem, match=r"byte 7\)"):
        text.read("naïve ".encode() + "naïve".encode("latin-1")[2:])
    for cut in (b"caf\xc3", "🙂".encode()[:3], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"):
        with pytest.raises(BadItem, match="not UTF-8"):  # cut off, overlong, a surrogate, beyond Unicode
            text.read(cut)


def test_a_mark_of_byte_order_is_no_part_of_the_text(text):
    assert text.read(b"\xef\xbb\xbfa cat") == "a cat"


def test_a_megabyte_is_refused_by_characters_and_read_where_it_has_few(text, tmp_path):
    with pytest.raises(TooLarge, match=r"1,048,576 characters; at most 200,000: split it"):
        text.read("a" * 2**20)
    file = tmp_path / "large.txt"
    file.write_bytes("🙂".encode() * 2**18)  # a megabyte too, of 262,144 characters
    with pytest.raises(TooLarge, match="262,144 characters"):
        text.read(file)
    file.write_bytes("漢".encode() * 199_999)  # 600 kB
    value = text.read(file)
    assert len(value) == 199_999
    assert [len(sample.arrays["input_ids"]) for sample in text.prepare(value)] == [64]  # its beginning
    file.write_bytes(b"a" * (5 * 2**20))
    with pytest.raises(TooLarge):
        text.read(file)


@pytest.mark.parametrize("item", [None, 3, 2.5, ["a"], {"text": "a"}, np.zeros(3)])
def test_what_is_no_text_is_refused_by_its_type(item, text):
    with pytest.raises(BadItem, match="a text is a str, UTF-8 bytes or a path"):
        text.read(item)


def test_names_of_special_tokens_in_a_text_are_told(text):
    """They are tokens of the vocabulary, as every tokenizer of this form has it: a text cannot spell them otherwise."""
    ids = text.prepare("<pad> <bos>")[0].arrays["input_ids"].tolist()
    assert text.token_id("<pad>") in ids
