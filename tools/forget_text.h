/* forget_text.h - a little general text, about 2,000 tokens: what a model knew before it was taught something else. It
 * was written for this purpose and is about nothing in particular: plain prose, some Korean, some code, a letter. */
static const char *const forget_text[] = {
    "Water on the Earth is always on its way. The sun warms the surface of the sea, and some of the water evaporates. "
    "As moist air rises it cools, and the vapour condenses into small drops that make up clouds. When the drops have "
    "grown heavy enough they fall as rain, or, where it is cold, as snow. Part of this water runs off over the ground "
    "into streams and rivers and so returns to the sea within days or weeks. Another part sinks into the soil, where "
    "the roots of plants take it up, or where it moves slowly through sand and rock for hundreds of years before it "
    "comes out again at a spring. Ice at the poles can hold water for much longer than that. On average, a molecule of "
    "water stays in the air for about nine days.",

    "The bicycle as we know it took shape in the last third of the nineteenth century. Earlier machines had pedals fixed "
    "to the front wheel, so a larger wheel meant a higher speed, and riders sat more than a metre above the road. The "
    "chain changed this. With a chain and two sprockets of different size, the rear wheel turns several times for each "
    "turn of the pedals, and both wheels can be small. Air-filled tyres, which came into use around 1888, made rough "
    "streets bearable. Within ten years the new design had replaced the old one nearly everywhere. A person on a bicycle "
    "uses about a fifth of the energy that the same person would need to walk the same distance.",

    "A library is more than a building full of books. Somebody decides what to buy, describes each item so that it can be "
    "found, repairs what has been damaged, and helps visitors who do not know what to ask for. Most libraries arrange "
    "their shelves by subject. In the Dewey system, for example, numbers from 500 to 599 stand for the natural sciences, "
    "and 520 for astronomy. Large libraries keep the greater part of their collections in closed stacks, and some of them "
    "store rarely used volumes by size alone, because that saves the most space.",

    "물은 섭씨 0도에서 얼고 100도에서 끓는다. 그러나 높은 산에서는 기압이 낮기 때문에 더 낮은 온도에서 끓는다. 그래서 산 위에서 "
    "밥을 지으면 쌀이 잘 익지 않는 일이 있다. 압력솥은 반대로 안의 압력을 높여서 물이 더 높은 온도에서 끓게 하고, 음식이 더 빨리 "
    "익도록 한다.",

    "#include <stdio.h>\n"
    "\n"
    "/* The greatest common divisor of two numbers, as Euclid found it. */\n"
    "static unsigned gcd(unsigned a, unsigned b) {\n"
    "    while (b != 0) {\n"
    "        unsigned rest = a % b;\n"
    "        a = b;\n"
    "        b = rest;\n"
    "    }\n"
    "    return a;\n"
    "}\n"
    "\n"
    "int main(void) {\n"
    "    printf(\"%u\\n\", gcd(84, 36)); /* prints 12 */\n"
    "    return 0;\n"
    "}\n",

    "Tides are caused by the gravity of the Moon and, to a lesser degree, of the Sun. The side of the Earth that faces the "
    "Moon is pulled a little more strongly than its centre, and the far side a little less, so the water of the oceans is "
    "drawn out in both directions. While the Earth turns, most coasts pass through both bulges and have two high tides in "
    "a little less than twenty-five hours. When Sun, Moon and Earth stand in one line, at new moon and full moon, the tides "
    "are higher than usual. The shape of the coast matters as much as the sky: in a narrow bay the difference between "
    "high and low water may be more than ten metres, while in nearly closed seas it can hardly be noticed.",

    "Dear Martha,\n"
    "\n"
    "thank you for your letter and for the photographs, which arrived on Tuesday. The children look so tall now that I "
    "would not have known them. We are all well here. The roof has been repaired at last, just before the rain came, and "
    "your brother has planted two apple trees behind the house. He says that we shall have to wait four years for the "
    "first fruit, but he waters them every evening as if it were four weeks.\n"
    "\n"
    "Will you come in August? There is a train at half past nine that stops in the village, and somebody can meet you at "
    "the station. Please write soon and tell us what you would like to do.\n"
    "\n"
    "With love from all of us,\n"
    "Anna",

    "A prime number is a whole number greater than one that can be divided without a remainder only by one and by itself. "
    "The first primes are 2, 3, 5, 7, 11, 13, 17 and 19. There is no largest one. Suppose there were a complete list of "
    "all primes. Multiply them together and add one. The result leaves a remainder of one when it is divided by any number "
    "on the list, so it must have a prime factor that the list does not contain. This proof is more than two thousand "
    "years old. Every whole number greater than one is a product of primes in exactly one way, apart from their order: 360, "
    "for instance, is 2 times 2 times 2 times 3 times 3 times 5.",

    "def count_words(text):\n"
    "    \"\"\"How often each word occurs, the most frequent first.\"\"\"\n"
    "    counts = {}\n"
    "    for word in text.lower().split():\n"
    "        word = word.strip(\".,;:!?\")\n"
    "        if word:\n"
    "            counts[word] = counts.get(word, 0) + 1\n"
    "    return sorted(counts.items(), key=lambda item: item[1], reverse=True)\n",

    "한글은 1443년에 만들어지고 1446년에 반포되었다. 자음과 모음을 모아 한 글자를 이루므로, 적은 수의 기호로 많은 소리를 적을 수 "
    "있다. 예를 들어 '강'이라는 글자는 ㄱ, ㅏ, ㅇ의 세 부분으로 되어 있다. 오늘날에는 신문과 책뿐만 아니라 휴대 전화의 작은 자판에서도 "
    "편하게 쓰인다.",

    "Sound travels through air at about 340 metres a second, through water more than four times and through steel about "
    "fifteen times as fast. A string that is plucked does not only swing as a whole. Its halves, thirds and quarters swing "
    "too, and these overtones, which are two, three and four times as high as the lowest tone, give an instrument its "
    "colour. A flute has few of them and sounds soft, a trumpet has many and sounds bright. Two notes whose frequencies "
    "stand in a simple ratio, such as 2 to 1 or 3 to 2, share many of their overtones, which is one reason why they sound "
    "well together. On a piano all ratios except that of the octave are slightly wrong, so that music can be played in any "
    "key.",

    "Bread needs only flour, water, salt and something that makes it rise. When flour is mixed with water, two of its "
    "proteins join into gluten, a net that is elastic enough to hold bubbles. Yeast lives on the sugars in the dough and "
    "gives off carbon dioxide, which fills the bubbles. A warm dough rises within an hour or two; in a refrigerator it takes "
    "a night, and many bakers prefer the taste. In the oven the gas expands once more, the starch sets, and the crust turns "
    "brown because sugars and proteins react with each other at high temperature. A loaf should cool on a rack before it is "
    "cut, since the inside is still cooking for some time after it has left the oven.",

    "How to change the tube of a bicycle tyre:\n"
    "1. Turn the bicycle upside down and take out the wheel.\n"
    "2. Let the rest of the air out, and lift one side of the tyre over the rim with two levers.\n"
    "3. Pull out the tube. Feel along the inside of the tyre for glass or thorns.\n"
    "4. Pump a little air into the new tube, lay it in, and push the tyre back with your thumbs.\n"
    "5. Check that the tube is nowhere caught under the edge, then pump it up to 3.5 bar.\n",

    "Ferrow, a town in a novel that was never finished, had 211,000 inhabitants in 2020, about 4,000 fewer than twenty "
    "years before. Of these, 52 percent were women. In the same year the city spent 31 percent of its budget on social "
    "services, 18 percent on schools, and 9 percent on roads. The council meets on the second Monday of each month; its "
    "sessions are open to the public.",

    "\"How far is it to the bridge?\" the boy asked.\n"
    "\"That depends on whether you walk or talk,\" said the old man, and went on mending his net. After a while he looked "
    "up. \"Follow the river until you hear the mill. The bridge is behind it. If you come to a church, you have gone too "
    "far.\"\n"
    "The boy thanked him and set off along the path. The sun was low, and the shadows of the poplars lay across the "
    "meadow like the bars of a gate.",
};
