"""What the analyser knows of each language: its commonest function words and its stemmer.

The words serve twice: a text's language is the one whose words it is full of, and a
question's search leaves them out. Diacritics stand as they are written."""

from functools import cache

# Snowball's algorithm of each language; those that are missing have none, see `LIGHT_ENDINGS`.
STEMMERS = {
    "ar": "arabic",
    "cs": "czech",
    "de": "german",
    "el": "greek",
    "en": "english",
    "eo": "esperanto",
    "es": "spanish",
    "et": "estonian",
    "fa": "persian",
    "fi": "finnish",
    "fr": "french",
    "hi": "hindi",
    "hu": "hungarian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "nl": "dutch",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sk": "czech",  # the nearest relative that has one
    "sv": "swedish",
    "tr": "turkish",
}

# Inflections without a Snowball algorithm: the commonest endings, cut when four letters remain.
LIGHT_ENDINGS = {
    "bg": "ията ията ията овете евете ище ища ият ята ето ите ове еве ии ът та то те ия ан ен а я о е и у ю",
    "he": "יים ות ים ית יה",
    "lv": "iem iem ām ēm īm os ās ēs as es is us am em im um ai ei ij ja ju ā ē ī ū a e i u o s š",
    "uk": "ями ами ові еві ого ому ими їми ість ення ання ою ею єю ям ам ях ах ий ій ої их ів їв ми ти ла ло ли а я о е и і ї у ю ь й",  # noqa: E501
}

FUNCTION_WORDS = {
    "ar": "في من على إلى عن أن إن كان كانت هذا هذه ذلك التي الذي مع هو هي ما لا لم قد كل بعد قبل بين أو ثم حيث عند كما لكن غير منذ حتى هل كم متى أين كيف لماذا ماذا أي وفي ومن وهو وهي",  # noqa: E501
    "bg": "и в на се да от за с е са по не че като към до при или този тази това тези който която което които има беше били бил във със след между само още как какво кой коя къде кога защо колко обаче както ли а но",  # noqa: E501
    "cs": "a v na se je to že z do s o i ve k pro za by ale jako po jsou od jeho při ze které který která byl byla bylo byly nebo také až které podle jen co jak kdo kde kdy proč kolik jaký jaká jaké tento tato být jsem ještě již mezi však ke",  # noqa: E501
    "de": "der die das und in den von zu mit ist des dem nicht ein eine einer eines einem einen im für auf als auch an werden wird wurde wurden aus er sie es sich bei nach bis oder war waren sind hat haben durch wie was wer wo wann warum welche welcher welches wie viele dass nur noch über vor zum zur am um so kann man ihre seine unter gegen ich wir ihr dieser diese dieses",  # noqa: E501
    "el": "και το η ο της του να για με την τον στο στη στην τα οι των είναι από που σε ότι δεν θα ένα μια ως κατά αλλά αυτό αυτή αυτός ήταν έχει είχε μετά πριν τι ποιος ποια ποιο πού πότε πώς γιατί πόσο πόσα στα στις στους τους τις μας ή",  # noqa: E501
    "en": "a an and are as at be been but by can could did do does for from had has have he her his how i if in into is it its many me much my no not of on or our she should so such than that the their them then there these they this those to was we were what when where which who whom whose why will with would you your",  # noqa: E501
    "eo": "la kaj de en al estas ne por kiu kiuj kiun ke ĉi tiu tio el kun pri per sed aŭ oni li ŝi ĝi ili mi vi estis estos pli plej tre ĉe dum sur sub inter post antaŭ kio kie kiam kial kiel kiom kies ĉu ankaŭ nur jam",  # noqa: E501
    "es": "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha me si sin sobre este ya entre cuando todo esta ser son dos también fue había era muy años hasta desde está mi porque qué sólo han yo hay vez puede todos así nos ni parte tiene él uno donde cuál cuáles quién quiénes cómo cuándo cuánto cuánta cuántos cuántas dónde cual cuáles fueron ese esa esto estos estas",  # noqa: E501
    "et": "ja on ei et see oli kui ka mis aga ning oma ta seda selle kes või nii ma olid pole siis tema kuid välja veel üle ära mida kus millal miks kuidas kas mitu palju milline nad nende olema alates kuni ning saab",  # noqa: E501
    "fa": "و در به از که این را با است برای آن یک خود تا کرد بر هم نیز گفت می شود شده بود اما ما یا باید دارد هر همه دیگر وی آنها شد چه چرا چگونه کجا کی کدام چند آیا های ای ها",  # noqa: E501
    "fi": "ja on ei se että oli hän mutta ovat kun kuin myös tai joka jotka sen mukaan ole vain niin ne olla jos sekä jonka joiden tämä tämän sitä siitä hänen mitä mikä kuka missä milloin miksi miten kuinka montako paljonko olivat ollut voi vuonna jo",  # noqa: E501
    "fr": "de la le et les des en un du une que est pour qui a dans par plus pas au sur ne se ce il sont la avec été ou son ses comme mais on aux d l s n qu c y était sa ont leur entre cette deux quel quelle quels quelles où quand comment pourquoi combien quoi elle nous vous je ces si fut être avait aussi",  # noqa: E501
    "he": "של את על לא זה הוא היא עם כי אל גם או אם כל מה היה היו אשר בין יש אין הם אני כך רק עד יותר כמו לפי לאחר מי מתי איפה היכן למה מדוע איך כיצד כמה איזה איזו האם ידי זו אך",  # noqa: E501
    "hi": "के का की में है और से को पर ने एक यह हैं कि लिए था थे थी हो भी नहीं कर इस तो ही गया साथ वह या उस जो करने किया अपने कुछ बाद तक जब होता क्या कौन कब कहाँ कैसे क्यों कितने कितनी किस किसने द्वारा रूप",  # noqa: E501
    "hu": "a az és hogy nem is egy volt meg ez van csak de ha mint el már még ki mi aki ami amely vagy ezt azt szerint volna voltak lesz után között hogyan mikor hol miért mennyi hány melyik milyen kik mit alatt során be sem pedig minden",  # noqa: E501
    "id": "yang dan di dari ini untuk dengan pada itu tidak dalam ke adalah oleh akan juga sebagai atau ada dapat telah karena tersebut bahwa mereka kami saya anda seperti lebih para bisa apa siapa kapan dimana mana mengapa bagaimana berapa sudah antara namun tahun hanya secara",  # noqa: E501
    "it": "di e il la che in a per un è del con una i non da della dei le si al sono nel alla più come delle anche ha o su lo gli ma dal degli nella questo questa se era stato sua suo fu tra ed ai essere dalla cui quale quali chi dove quando come perché quanto quanti quante quanta cosa l d un hanno",  # noqa: E501
    "ja": "",
    "lt": "ir yra į iš kad su ne kaip bet tai buvo už apie per ar po nuo jis ji jie iki dėl tik taip pat kuris kuri kurie jo jos jų prie kas kur kada kodėl kiek koks kokia būti gali dar savo tarp prieš",  # noqa: E501
    "lv": "un ir no uz ar par kas ka bija tas arī tā kā pēc vai bet pie līdz lai gan ko kur kad kāpēc cik kāds kāda nav viņš viņa tika šis šī to tiek ne jau starp savu gada kurš kura būt vēl",  # noqa: E501
    "nl": "de van het een en in is dat op te zijn met voor niet aan er om ook als dan maar bij of uit nog naar door over ze zich hij tot je wordt werd worden heeft hebben had deze dit die wat wie waar wanneer waarom hoe hoeveel welke welk kan meer geen na onder wel tegen hun",  # noqa: E501
    "no": "og i det er på som en for av til at med den de har ikke om et fra men var seg vi ble blir kan skal så han hun da etter eller når hva hvem hvor hvorfor hvordan hvilken hvilke hvilket mange mye være ved også ut opp sin over mellom denne dette disse",  # noqa: E501
    "pl": "w i na z się do nie jest że to o jak od za po przez dla są a oraz który która które których ze także był była było były tym ale lub przy tego jego ich może co kto gdzie kiedy dlaczego ile jaki jaka jakie czy tylko być już między po pod tej",  # noqa: E501
    "pt": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu sua ou ser quando muito há nos já está também só pelo pela até isso ela entre era depois sem mesmo aos ter seus quem nas me esse eles são qual quais onde quanto quantos quantas como por foram pode num numa",  # noqa: E501
    "ro": "de și în a la cu o pe că un din este nu care mai pentru sau ce au fost se prin s lui dar ca al ale ei sunt după fi era cel cea cele între acest această ca unei unui sa său lor cine când unde cum câți câte cât care iar ar până fără",  # noqa: E501
    "ru": "и в не на я что тот быть с а весь это как она по но они к у ты из мы за вы так же от сказать этот который мочь о один бы такой только себя его для было были был была или при также которые которая которой которых до чем где когда почему сколько какой какая какие каких кто чего кого во со их ее её него если между после",  # noqa: E501
    "sk": "a v na sa je že to z do s o aj vo k pre za by ale ako po sú od jeho pri zo ktoré ktorý ktorá bol bola bolo boli alebo tiež až podľa len čo kto kde kedy prečo koľko aký aká aké tento táto byť som ešte už medzi však ku",  # noqa: E501
    "sv": "och i att det som en på är av för med till den har de inte om ett han men var jag sig från vi så kan när hon ut där eller efter upp vid mot vad vem vilka vilken vilket hur varför många mycket då nu bara över ska skulle också blev under denna detta dessa mellan sin",  # noqa: E501
    "tr": "ve bir bu da de için ile olarak çok daha olan gibi en ne ya kadar sonra o ise ki her ama değil var mi mı mu mü tarafından ilk iki yıl göre kim nerede hangi nasıl neden niçin kaç olduğu oldu olduğunu ancak veya ait",  # noqa: E501
    "uk": "і в не на я що та з у до як це за від по є його але про для було був були була або при також який яка які яких чи так вони він вона ми ви їх її із зі після між де коли чому скільки хто кого чого цей ця ці того лише бути може вже ще",  # noqa: E501
    "zh": "",
}

LANGUAGES = tuple(sorted(FUNCTION_WORDS))
ALIASES = {"pt-br": "pt", "nb": "no", "nn": "no", "in": "id", "iw": "he"}


@cache
def function_words(language: str) -> frozenset[str]:
    """In the analyser's form: casefolded. Empty for a language that has none here."""
    return frozenset(FUNCTION_WORDS.get(language, "").casefold().split())


@cache
def light_endings(language: str) -> tuple[str, ...]:
    """Longest first; empty when the language has a real stemmer or needs none."""
    return tuple(sorted(set(LIGHT_ENDINGS.get(language, "").split()), key=lambda ending: (-len(ending), ending)))
