"""The sentence "Your sources do not contain an answer to this question." in every language of contract 2."""
# ruff: noqa: RUF001

REFUSALS = {
    "ar": "لا تحتوي مصادرك على إجابة عن هذا السؤال.",
    "bg": "Вашите източници не съдържат отговор на този въпрос.",
    "cs": "Vaše zdroje neobsahují odpověď na tuto otázku.",
    "de": "Ihre Quellen enthalten keine Antwort auf diese Frage.",
    "el": "Οι πηγές σας δεν περιέχουν απάντηση σε αυτή την ερώτηση.",
    "en": "Your sources do not contain an answer to this question.",
    "eo": "Viaj fontoj ne enhavas respondon al ĉi tiu demando.",
    "es": "Sus fuentes no contienen una respuesta a esta pregunta.",
    "et": "Sinu allikates ei ole sellele küsimusele vastust.",
    "fa": "منابع شما پاسخی به این پرسش ندارند.",
    "fi": "Lähteesi eivät sisällä vastausta tähän kysymykseen.",
    "fr": "Vos sources ne contiennent pas de réponse à cette question.",
    "he": "המקורות שלך אינם מכילים תשובה לשאלה זו.",
    "hi": "आपके स्रोतों में इस प्रश्न का उत्तर नहीं है।",
    "hu": "A forrásai nem tartalmaznak választ erre a kérdésre.",
    "id": "Sumber Anda tidak memuat jawaban atas pertanyaan ini.",
    "it": "Le tue fonti non contengono una risposta a questa domanda.",
    "ja": "あなたの資料には、この質問への回答が見つかりませんでした。",
    "lt": "Jūsų šaltiniuose nėra atsakymo į šį klausimą.",
    "lv": "Jūsu avotos nav atbildes uz šo jautājumu.",
    "nl": "Uw bronnen bevatten geen antwoord op deze vraag.",
    "no": "Kildene dine inneholder ikke noe svar på dette spørsmålet.",
    "pl": "Twoje źródła nie zawierają odpowiedzi na to pytanie.",
    "pt": "As suas fontes não contêm uma resposta a esta pergunta.",
    "pt-br": "Suas fontes não contêm uma resposta para esta pergunta.",
    "ro": "Sursele dumneavoastră nu conțin un răspuns la această întrebare.",
    "ru": "Ваши источники не содержат ответа на этот вопрос.",
    "sk": "Vaše zdroje neobsahujú odpoveď na túto otázku.",
    "sv": "Dina källor innehåller inget svar på den här frågan.",
    "tr": "Kaynaklarınız bu sorunun yanıtını içermiyor.",
    "uk": "Ваші джерела не містять відповіді на це запитання.",
    "zh": "您的资料中没有找到这个问题的答案。",
}


def refusal(language: str) -> str:
    """In English where the language is unknown."""
    return REFUSALS.get(language, REFUSALS["en"])
