"""Rows in forty languages and their scripts: each is told apart by its words."""

import numpy as np
import pytest

from dtm.disperse.kmeans import kmeans
from dtm.disperse.quality import quality
from dtm.foundations.signals import embed
from dtm.foundations.signals.near_duplicates import near_duplicates
from dtm.foundations.signals.text import Texts

WORDS = {  # water, house, bread, night, mother, river
    "Amharic": "ውሃ ቤት ዳቦ ሌሊት እናት ወንዝ", "Arabic": "ماء بيت خبز ليل أم نهر",
    "Armenian": "ջուր տուն հաց գիշեր մայր գետ", "Bengali": "জল বাড়ি রুটি রাত মা নদী",
    "Bulgarian": "вода къща хляб нощ майка река", "Chinese": "水 房子 面包 夜晚 母亲 河流",
    "Czech": "voda dům chléb noc matka řeka", "Danish": "vand hus brød nat mor flod",
    "Dutch": "water huis brood nacht moeder rivier", "English": "wave home loaf evening mum stream",
    "Estonian": "vesi maja leib öö ema jõgi", "Finnish": "vettä talo leipä yö äiti joki",
    "French": "eau maison pain nuit mère rivière", "Georgian": "წყალი სახლი პური ღამე დედა მდინარე",
    "German": "wasser haus brot abend mutter fluss", "Greek": "νερό σπίτι ψωμί νύχτα μητέρα ποτάμι",
    "Gujarati": "પાણી ઘર રોટલી રાત માતા નદી", "Hebrew": "מים בית לחם לילה אמא נהר",
    "Hindi": "पानी घर रोटी रात माँ नदी", "Hungarian": "víz ház kenyér éjszaka anya folyó",
    "Icelandic": "vatn hús brauð nótt móðir fljót", "Indonesian": "air rumah roti malam ibu sungai",
    "Irish": "uisce teach arán oíche máthair abhainn", "Italian": "acqua casa pane notte madre fiume",
    "Japanese": "みず いえ パン よる はは かわ", "Korean": "물방울 집안 빵집 밤중 어머니 강물",
    "Latvian": "ūdens māja maize nakts māte upe", "Lithuanian": "vanduo namas duona naktis motina upė",
    "Persian": "آب خانه نان شب مادر رودخانه", "Polish": "wodą dom chleb nocą matką rzeka",
    "Portuguese": "água lar pão noite mãe rio", "Romanian": "apă casă pâine noapte mamă râu",
    "Russian": "воды дома хлеба ночи матери реки", "Spanish": "agua hogar barra noche mamá arroyo",
    "Swahili": "maji nyumba mkate usiku mama mto", "Tamil": "நீர் வீடு ரொட்டி இரவு தாய் ஆறு",
    "Telugu": "నీరు ఇల్లు రొట్టె రాత్రి తల్లి నది", "Thai": "น้ำ บ้าน ขนมปัง กลางคืน แม่ แม่น้ำ",
    "Turkish": "su ev ekmek gece anne nehir", "Vietnamese": "nước nhà bánh đêm mẹ sông",
}  # fmt: skip


@pytest.fixture(scope="module")
def talks():
    """Twelve rows a language, of twelve of its words each: their texts and the language of each."""
    generator = np.random.default_rng(0)
    languages = generator.permutation(np.repeat(np.arange(len(WORDS)), 12))
    words = [text.split() for text in WORDS.values()]
    return [" ".join(generator.choice(words[one], 12)) for one in languages], languages


def test_forty_languages_are_told_apart(talks, make_examples):
    texts, languages = talks
    assert len(WORDS) == 40
    examples = make_examples([{"instruction": text, "response": ""} for text in texts])
    points = embed(examples, dimensions=80, seed=0)
    portions = kmeans(None, 40, 0, embedding=points, balanced=False, restarts=12)
    pure = sum(np.bincount(languages[portions == portion]).max() for portion in range(40))
    assert pure >= 0.9 * len(languages)
    found, _ = quality(examples, portions, 40, embedding=points)
    assert found["similarity"]["within"] > found["similarity"]["across"] + 0.5


def test_a_row_in_any_script_is_a_near_duplicate_of_itself_in_capitals(talks, make_examples):
    """Case and form are no difference: full-width and composed letters are those of the plain text."""
    rows = [{"instruction": text, "response": ""} for text in WORDS.values()]
    again = [{"instruction": text.upper() + "!", "response": ""} for text in WORDS.values()]
    groups = near_duplicates(Texts(make_examples(rows + again), "both"))
    assert groups.tolist() == [*range(40), *range(40)]


def test_scripts_that_compose_letters_are_one_word_either_way(make_examples):
    texts = [
        "Ｆｕｌｌ ｗｉｄｔｈ ｗｏｒｄｓ ｈｅｒｅ",
        "full width words here",
        "cafe\u0301 cre\u0300me nai\u0308ve de\u0301ja\u0300",
        "café crème naïve déjà",
    ]
    groups = near_duplicates(
        Texts(make_examples([{"instruction": text, "response": ""} for text in texts]), "both")
    )
    assert groups.tolist() == [0, 0, 1, 1]
